// What find_rule() has said, by program counter: a table of fixed size that any number of threads and signal handlers
// read and write without a lock.
//
//   UnwindRule rule;
//   if (!cache.find(pc, &rule)) cache.put(pc, rule = find_rule(pc - 1));
//
// An entry is two words, rule and rule-mixed-with-key, written one after the other: a reader who meets one half
// of each of two writes finds that they do not belong together, and has missed. A set is one cache line; a new entry
// takes the set's first place that is free or outdated, else any. forget() makes all of them outdated.
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/cfi.h"

namespace causeway::dept {

class RuleCache {
 public:
  constexpr RuleCache() = default;

  [[gnu::always_inline]] bool find(uintptr_t pc, UnwindRule* rule) const {
    const uint64_t key = key_of(pc);
    for (const Entry& entry : sets_[set_of(pc)].entries) {
      const uint64_t word = entry.rule.load(std::memory_order_relaxed);
      if ((entry.check.load(std::memory_order_relaxed) ^ mixed(word)) == key) {
        *rule = UnwindRule::from_word(word);
        return true;
      }
    }
    return false;
  }
  void put(uintptr_t pc, UnwindRule rule);
  void forget();

 private:
  static constexpr unsigned kSetBits = 12;
  static constexpr unsigned kWays = 4;
  static constexpr unsigned kAddressBits = 47;  // of user space; the rest of a key is the generation

  struct Entry {
    std::atomic<uint64_t> rule{0};
    std::atomic<uint64_t> check{0};
  };
  struct alignas(64) Set {
    Entry entries[kWays];
  };

  // Never 0, which is what an empty entry looks like.
  uint64_t key_of(uintptr_t pc) const { return pc + (generation_.load(std::memory_order_relaxed) << kAddressBits); }
  // No more than this: it is on the critical path of a walk, from one frame to the next; the low bits are random enough.
  static constexpr unsigned set_of(uintptr_t pc) { return static_cast<unsigned>(pc) & ((1u << kSetBits) - 1); }
  static constexpr uint64_t mixed(uint64_t word) { return word * 0x9e3779b97f4a7c15; }

  std::atomic<uint64_t> generation_{1};
  Set sets_[1u << kSetBits];
};

}  // namespace causeway::dept
