#include "dept/rule_cache.h"

namespace causeway::dept {

void RuleCache::put(uintptr_t pc, UnwindRule rule) {
  const uint64_t key = key_of(pc);
  Set& set = sets_[set_of(pc)];
  unsigned place = static_cast<unsigned>(pc * 0x9e3779b97f4a7c15 >> 62) % kWays;
  for (unsigned way = 0; way < kWays; ++way) {
    const Entry& entry = set.entries[way];
    const uint64_t old = entry.check.load(std::memory_order_relaxed) ^ mixed(entry.rule.load(std::memory_order_relaxed));
    if (old >> kAddressBits == key >> kAddressBits && old != key) continue;
    place = way;
    break;
  }
  set.entries[place].rule.store(rule.word(), std::memory_order_relaxed);
  set.entries[place].check.store(key ^ mixed(rule.word()), std::memory_order_relaxed);
}

void RuleCache::forget() {
  // Above the address a key has 17 bits. When they have all been used, the entries of 130,000 changes ago would look
  // alive.
  const uint64_t next = generation_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (next >> (64 - kAddressBits) == 0) return;
  for (Set& set : sets_) {
    for (Entry& entry : set.entries) entry.check.store(0, std::memory_order_relaxed);
  }
  generation_.store(1, std::memory_order_relaxed);
}

}  // namespace causeway::dept
