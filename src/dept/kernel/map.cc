#include "dept/kernel/map.h"

#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

uint64_t key_of(const Map& map) { return reinterpret_cast<uintptr_t>(map.key != nullptr ? map.key : &map.own_key); }

ObjectTraits traits_of(const Map& map) {
  ObjectTraits traits;
  traits.kind = Kind::kMap;
  traits.key = key_of(map);
  traits.name = map.name;
  traits.sub = map.sub;
  traits.class_flags = Class::kStrictNesting;
  return traits;
}

}  // namespace

ObjectId known(Map& map, Site site) {
  if (map.nocheck) return ObjectId::kNone;
  map.object = Tracker::get().object_at(&map, traits_of(map), site);
  return map.object;
}

void map_init(Map& map, const Key* key, uint8_t sub_u, const char* name, Site site) {
  map.key = key;
  map.sub = sub_u;
  map.name = name;
  map.nocheck = false;
  map.requested = {};
  map.object = ObjectId::kNone;
  if (Within self; self) map.object = self.tracker().object_born(&map, traits_of(map), site);
}

void map_reinit(Map& map, const Key* key, uint8_t sub_u, const char* name, Site site) {
  const bool nocheck = map.nocheck;
  map_init(map, key != nullptr ? key : map.key, sub_u, name != nullptr ? name : map.name, site);
  map.nocheck = nocheck;
}

void map_copy(Map& to, const Map& from) {
  to.key = from.key;
  to.name = from.name;
  to.sub = from.sub;
  to.outer = from.outer;
  to.inner = from.inner;
  to.nocheck = from.nocheck || from.key == nullptr;
  to.requested = {};
  to.object = ObjectId::kNone;
  if (Within self; self && !to.nocheck) to.object = self.tracker().object_born(&to, traits_of(to), {});
}

void map_destroy(Map& map) {
  if (Within self; self && map.object != ObjectId::kNone) self.tracker().object_died(&map);
  map.object = ObjectId::kNone;
}

void map_set_nocheck(Map& map) { map.nocheck = true; }

void map_set_subclass(Map& map, uint8_t sub_u) { map_reinit(map, nullptr, sub_u, nullptr, map.requested); }

void map_set_wait_type(Map& map, WaitType outer, WaitType inner) {
  map.outer = outer;
  map.inner = inner;
}

void key_set_compare(const Key& key, MapCompare compare) {
  Within self;
  if (!self) return;
  Inside inside;
  self.graph().set_compare(reinterpret_cast<uintptr_t>(&key), compare);
}

void key_init(const Key& key, Site site) {
  Within self;
  if (self && self.graph().has_class(reinterpret_cast<uintptr_t>(&key)))
    self.misuse(Misuse::kInitInUse, Level::kCertain, ObjectId::kNone, site);
}

void key_destroy(const Key& key) { free_range(&key, sizeof key); }

void free_range(const void* begin, uint64_t size) {
  Within self;
  if (!self) return;
  self.tracker().memory_freed(begin, size);
  Inside inside;
  self.graph().forget_classes(reinterpret_cast<uintptr_t>(begin), size);
}

}  // namespace causeway::dept::kernel
