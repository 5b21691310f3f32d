// Witnesses by something else than their edge: the pairs of objects of one class, the interruptions of a class. In the arena, under the
// graph's lock.
//
//   lists.add(WitnessLists::key_of(edge, from_object), witness);
//   for (auto at = lists.first(key); at; at = lists.next(at)) use(lists.witness(at));
#pragma once

#include <cstdint>

#include "dept/arena.h"
#include "dept/hash.h"

namespace causeway::dept {

class WitnessLists {
 public:
  explicit WitnessLists(Arena& arena) : arena_(arena) {}

  static uint64_t key_of(EdgeId edge, ObjectId from) { return uint64_t{index_of(edge)} << 32 | index_of(from); }
  enum class Irq : uint64_t { kEnabled = uint64_t{2} << 62, kWait = uint64_t{3} << 62 };
  static uint64_t key_of(Irq what, ClassId cls, unsigned irq) {
    return static_cast<uint64_t>(what) | uint64_t{irq} << 32 | index_of(cls);
  }

  // False: no room.
  bool add(uint64_t key, WitnessId witness) {
    const uint32_t at = arena_.take(Table::kPair, 1);
    if (at == 0) return false;
    uint32_t& head = head_of(key);
    entry(at) = {key, witness, head};
    head = at;
    return true;
  }
  uint32_t first(uint64_t key) const { return skip(head_of(key), key); }
  uint32_t next(uint32_t at) const { return skip(entry(at).next, entry(at).key); }
  WitnessId witness(uint32_t at) const { return entry(at).witness; }

 private:
  struct Entry {
    uint64_t key;
    WitnessId witness;
    uint32_t next;
  };
  static_assert(sizeof(Entry) == 16);

  Entry& entry(uint32_t at) const { return *static_cast<Entry*>(arena_.record(Table::kPair, at)); }
  uint32_t& head_of(uint64_t key) const {
    return arena_.words<uint32_t>(Table::kPairIndex)[mix(kSeed, key) & (arena_.capacity(Table::kPairIndex) - 1)];
  }
  uint32_t skip(uint32_t at, uint64_t key) const {
    while (at != 0 && entry(at).key != key) at = entry(at).next;
    return at;
  }

  Arena& arena_;
};

}  // namespace causeway::dept
