// Objects of a tracker: found by address, born, dead; those that live on a stack.
#include <cstring>

#include "dept/class_choice.h"
#include "dept/dependencies.h"
#include "dept/hash.h"
#include "dept/tracker.h"
#include "dept/waiters.h"

namespace causeway::dept {
namespace {

// Further away from the stack pointer than this an address counts as somebody else's, even below the top: a stack that was switched.
constexpr uintptr_t kNearby = 1u << 20;

}  // namespace

bool Tracker::is_on_stack(const ThreadContext* self, uint64_t address, uintptr_t stack_pointer) const {
  return address >= stack_pointer && address < self->stack_top && address - stack_pointer < kNearby;
}

ObjectId Tracker::find_object(const void* address) const {
  return is_on() ? objects_.find(arena_, reinterpret_cast<uintptr_t>(address)) : ObjectId::kNone;
}

ObjectId Tracker::object_at(const void* address, const ObjectTraits& traits, Site first_use) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return find_object(address);
  Inside inside;
  return object_at(self, address, traits, first_use, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
}

ObjectId Tracker::object_at(ThreadContext* self, const void* pointer, const ObjectTraits& traits, Site first_use,
                            uintptr_t stack_pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (stack_pointer > self->stack_low) [[unlikely]] leave_stack(self, stack_pointer);
  CachedObject& entry = place_of(self, address);
  if (entry.address != 0 && is_good(entry, address)) [[likely]] return entry.id;
  const bool on_stack = is_on_stack(self, address, stack_pointer);
  ObjectId id = objects_.find(arena_, address);
  if (id == ObjectId::kNone) {
    id = make_object(self, pointer, traits, first_use, on_stack);
    if (id == ObjectId::kNone) return id;
  }
  Object& object = arena_.at<Object>(id);
  if (object.kind == Kind::kUnknown) [[unlikely]] {
    // Named before it was used: what it is, its use tells.
    if (traits.kind == Kind::kUnknown) return id;
    EngineLockGuard hold(objects_.lock());
    object.flags.fetch_or(traits.flags, std::memory_order_relaxed);
    object.kind = traits.kind;
  }
  if (!on_stack && (object.flags.load(std::memory_order_relaxed) & (Object::kOnStack | Object::kForeign)) == Object::kOnStack)
    object.flags.fetch_or(Object::kForeign, std::memory_order_relaxed);
  const uint32_t generation = object.generation.load(std::memory_order_relaxed);
  entry = {address, &object, seed_of(id, generation), id, generation};
  return id;
}

ObjectId Tracker::take_record() {
  // A while after its death nobody's cache of an object is warm; what is left is told by its generation.
  if (buried_next_ - buried_first_ > 64) {
    const ObjectId id = buried_[buried_first_++ % kQuarantine];
    Object& object = arena_.at<Object>(id);
    std::memset(static_cast<void*>(&object), 0, offsetof(Object, flags));
    for (std::atomic<uint32_t>& cls : object.classes) cls.store(0, std::memory_order_relaxed);
    object.wgen.store(0, std::memory_order_relaxed);
    object.waiters.store(0, std::memory_order_relaxed);
    object.value.store(0, std::memory_order_relaxed);
    object.sub = 0;
    return id;
  }
  ObjectId id;
  arena_.add<Object>(&id);
  return id;
}

// Under objects_.lock().
bool Tracker::has_own_class(const ClassChoice& choice, Site first_use) {
  if (graph_.has_class(choice.key)) return true;
  uint8_t& given = own_classes_[mix(first_use.where, first_use.line) % kOwnPlaces];
  if (given == kOwnClasses) return false;
  ++given;
  return true;
}

ObjectId Tracker::make_object(ThreadContext* self, const void* pointer, const ObjectTraits& traits, Site site, bool on_stack) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const ClassChoice choice = class_choice::choose(pointer, traits, site, on_stack);
  // The place of birth is unwound once, for all objects that are born there.
  LazyStack stack(site, nullptr);
  const StackId birth = site_stacks_.keep(ClassId::kNone, site, stack, arena_);
  StringId name = StringId::kNone;
  if (traits.name != nullptr) name = arena_.intern(traits.name);
  else if (choice.name[0] != 0) name = arena_.intern(choice.name);
  EngineLockGuard hold(objects_.lock());
  if (const ObjectId there = objects_.find(arena_, address); there != ObjectId::kNone) return there;
  const ObjectId id = take_record();
  if (id == ObjectId::kNone) return id;
  Object& object = arena_.at<Object>(id);
  object.address = address;
  object.key = choice.otherwise == 0 || has_own_class(choice, site) ? choice.key : choice.otherwise;
  object.name = name;
  object.birth = birth;
  object.kind = traits.kind;
  object.sub = traits.sub;
  object.class_flags = static_cast<uint16_t>(traits.class_flags);
  object.flags.store(traits.flags | (on_stack ? uint32_t{Object::kOnStack} : 0), std::memory_order_release);
  if (!objects_.insert(address, id)) return ObjectId::kNone;
  if (on_stack) note_stack_object(self, id);
  return id;
}

ObjectId Tracker::object_born(const void* address, const ObjectTraits& traits, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return ObjectId::kNone;
  Inside inside;
  const auto where = reinterpret_cast<uintptr_t>(address);
  if (objects_.may_have(where, where + 1)) {
    EngineLockGuard hold(objects_.lock());
    if (const ObjectId old = objects_.find(arena_, where); old != ObjectId::kNone) bury(self, old);
  }
  return object_at(self, address, traits, site, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
}

// Its record stays, if anything names it; who finds it dead looks again.
void Tracker::bury(ThreadContext* self, ObjectId id) {
  Object& object = arena_.at<Object>(id);
  for (uint32_t i = self->held(); i-- != 0;) {
    if (self->held_list()[i].object == id) drop(self, i);
  }
  objects_.remove(object.address);
  const uint32_t flags = object.flags.fetch_or(Object::kDead, std::memory_order_acq_rel);
  if ((flags & Object::kDead) != 0) return;
  object.generation.fetch_add(1, std::memory_order_release);
  arena_.header().now.fetch_add(1, std::memory_order_release);
  arena_.count(Counter::kObjectsDied);
  if (waiters().bury(object) && (flags & Object::kRecorded) == 0 && buried_next_ - buried_first_ < kQuarantine) {
    if (object.clock.load(std::memory_order_relaxed) != 0) order_.forget(id);
    buried_[buried_next_++ % kQuarantine] = id;
  }
}

void Tracker::object_died(const void* address) {
  ThreadContext* self = ThreadContext::current();
  const auto where = reinterpret_cast<uintptr_t>(address);
  if (self == nullptr || !objects_.may_have(where, where + 1)) return;
  Inside inside;
  ObjectId id = objects_.find(arena_, where);
  if (id == ObjectId::kNone) return;
  const Object& object = arena_.at<Object>(id);
  LazyStack stack(Site::at(__builtin_return_address(0)), nullptr);
  if (const Held* held = find_held(self, id, 7); held != nullptr && (held->flags & (Held::kTentative | Held::kIgnored)) == 0) {
    report(Problem::kMisuse, Misuse::kDestroyHeld, Level::kInfo, self, id, stack, stack_of(*held));
  } else if (waiters().has_sleepers(object)) {
    report(Problem::kMisuse, Misuse::kDestroyWaited, Level::kInfo, self, id, stack, waiters().requested_at(object));
  }
  EngineLockGuard hold(objects_.lock());
  id = objects_.find(arena_, where);
  if (id != ObjectId::kNone) bury(self, id);
}

void Tracker::objects_freed(uint64_t begin, uint64_t end) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return;
  Inside inside;
  EngineLockGuard hold(objects_.lock());
  objects_.each_within(begin, end, [&](uint64_t address, ObjectId id) {
    if (arena_.at<Object>(id).address == address) bury(self, id);
  });
}

void Tracker::note_stack_object(ThreadContext* self, ObjectId id) {
  const Object& object = arena_.at<Object>(id);
  if (self->stack_count == kStackObjects) return;
  self->stack_objects[self->stack_count++] = id;
  if (object.address < self->stack_low) self->stack_low = object.address;
}

// The frames below have returned, and what lived in them is gone, unless other threads still use it.
void Tracker::leave_stack(ThreadContext* self, uintptr_t stack_pointer) {
  uint32_t kept = 0;
  self->stack_low = UINTPTR_MAX;
  for (uint32_t i = 0; i < self->stack_count; ++i) {
    const ObjectId id = self->stack_objects[i];
    Object& object = arena_.at<Object>(id);
    const uint32_t flags = object.flags.load(std::memory_order_relaxed);
    if ((flags & Object::kDead) != 0 || (flags & Object::kOnStack) == 0) continue;
    const bool is_gone = object.address < stack_pointer && stack_pointer - object.address < kNearby;
    if (is_gone && (flags & Object::kForeign) == 0 && find_held(self, id, 7) == nullptr) {
      EngineLockGuard hold(objects_.lock());
      if (objects_.find(arena_, object.address) == id) bury(self, id);
      continue;
    }
    if (is_gone) continue;
    self->stack_objects[kept++] = id;
    if (object.address < self->stack_low) self->stack_low = object.address;
  }
  self->stack_count = kept;
}

}  // namespace causeway::dept
