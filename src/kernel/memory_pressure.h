// Memory pressure: a thread that behaves like everybody else in a kernel. It allocates blocks of all
// small orders, fills them, finds them unchanged a little later, and frees them.
//
// If memory a device writes to is ever handed out, this is who gets it: the device's write shows up as
// damage here, and this thread's pattern as a damaged record there.
#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <vector>

#include "mm/page_allocator.h"
#include "sync/thread.h"

namespace causeway::kernel {

class MemoryPressure {
 public:
  // Holds about `pages` pages at any time; 0: no thread.
  MemoryPressure(mm::PageAllocator& allocator, uint64_t pages);
  // Dies: what it holds is forgotten.
  ~MemoryPressure();
  // Orderly: checks and frees everything.
  void stop();

  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }
  uint64_t damaged() const { return damaged_.load(std::memory_order_relaxed); }

 private:
  struct Held {
    mm::Page* page;
    Order order;
    uint64_t pattern;
  };
  void run(sync::StopToken stop);
  void take();
  void check_and_free(size_t index);

  mm::PageAllocator& allocator_;
  const uint64_t target_pages_;
  std::mt19937_64 random_;
  std::vector<Held> held_;
  uint64_t held_pages_ = 0;
  std::atomic<uint64_t> rounds_{0};
  std::atomic<uint64_t> damaged_{0};
  sync::Thread thread_;
};

}  // namespace causeway::kernel
