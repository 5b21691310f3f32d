// A Key is a class by its address, a Map the tracker's handle that lies in each object.
//
//   static kernel::Key key;                            // all objects that follow the same rules
//   kernel::map_init(object.map, &key, 0, "iommu.group", site);
//
// A map without a key is its own class. A map's address is its object's identity: it is not moved.
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/graph.h"
#include "dept/records.h"

namespace causeway::dept::kernel {

// Three events of eight user subclasses lie in it.
struct Key {
  uint8_t subclass[kEvents * kUserSubclasses];
};
static_assert(sizeof(Key) == 24);

// What may block where (wait_context.h); kUnchecked: anywhere.
enum class WaitType : uint8_t { kUnchecked, kNone, kRaw, kSpin, kSleep };

struct Map {
  ObjectId object = ObjectId::kNone;
  const Key* key = nullptr;  // null: own_key
  Key own_key{};
  const char* name = nullptr;
  uint8_t sub = 0;
  bool nocheck = false;
  WaitType outer = WaitType::kUnchecked;  // to take it is to wait in this way
  WaitType inner = WaitType::kUnchecked;  // while it is held one may wait in this way at most
  Site requested{};                       // of the newest request
};

// For an object that is too small for a map: one static map, and this in each instance.
struct ExtWgen {
  std::atomic<uint32_t> wgen{0};
};

// Once, before anybody else uses it. `name` is a literal.
void map_init(Map& map, const Key* key, uint8_t sub_u, const char* name, Site site);
// The object begins another life; requests of the old one are void. Null `key` or `name`: it keeps its own.
void map_reinit(Map& map, const Key* key, uint8_t sub_u, const char* name, Site site);
// Usually onto the stack: without an external key the copy is not checked, since an address there is no identity.
void map_copy(Map& to, const Map& from);
// The map's memory may be used for something else from here on.
void map_destroy(Map& map);
void map_set_nocheck(Map& map);
// Another vertex of the same class, by the same name, from the next use on.
void map_set_subclass(Map& map, uint8_t sub_u);
// Taking it waits as `outer` does, holding it allows `inner`.
void map_set_wait_type(Map& map, WaitType outer, WaitType inner);
// Which order of two maps of the class is right: negative if `a` may be held when `b` is taken.
using MapCompare = int (*)(const void* a, const void* b);
void key_set_compare(const Key& key, MapCompare compare);

// A key begins: nothing to do, and misuse if it is in use already. key_destroy: its memory may be used for a new key, which then is
// another class; edges of the old one stay, as they were true. Maps of the old key are initialised anew.
void key_init(const Key& key, Site site);
void key_destroy(const Key& key);
// All keys and maps within: code or data that is unloaded.
void free_range(const void* begin, uint64_t size);

}  // namespace causeway::dept::kernel
