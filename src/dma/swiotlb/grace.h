// A grace period for readers that take no lock: what was taken out of a list may be freed once everybody who could
// have seen it there has left. Private to the room.
//
//   { Grace::Section inside(grace); for (node = head.load(); node; node = node->next.load()) ... }   // many
//   unlink(node); grace.wait(); delete node;                                                          // one at a time
//
// Loads and stores of the list's links are sequentially consistent, as is entering: either the reader is seen by
// wait(), or it sees the list without the node. Two phases, each waited for in turn, as in SRCU: a reader that was
// delayed between choosing its phase and entering it is caught by the second one.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace causeway::dma {

class Grace {
 public:
  class Section {
   public:
    explicit Section(const Grace& grace) : inside_(grace.counter()) { inside_.fetch_add(1, std::memory_order_seq_cst); }
    ~Section() { inside_.fetch_sub(1, std::memory_order_release); }
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

   private:
    std::atomic<uint32_t>& inside_;
  };

  void wait() {
    for (int phase = 0; phase < 2; ++phase) {
      uint32_t left = phase_.fetch_xor(1, std::memory_order_seq_cst);
      for (Stripe& stripe : stripes_)
        while (stripe.inside[left].load(std::memory_order_seq_cst) != 0) ::sched_yield();
    }
  }

 private:
  struct alignas(64) Stripe {
    mutable std::array<std::atomic<uint32_t>, 2> inside{};
  };
  std::atomic<uint32_t>& counter() const {
    const Stripe& stripe = stripes_[static_cast<unsigned>(::sched_getcpu()) % stripes_.size()];
    return stripe.inside[phase_.load(std::memory_order_seq_cst)];
  }

  std::array<Stripe, 8> stripes_;
  std::atomic<uint32_t> phase_{0};
};

}  // namespace causeway::dma
