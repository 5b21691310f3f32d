// The way of a wake that nobody sleeps for and that tells nothing new: its thread has waited for nothing in this context; or did the same
// before, holding the same, and has waited for nothing new since. It is compiled into each wrapper and calls nothing.
//
//   if (const CachedObject* known = sleeps::known_wake(cond)) return;           // of what is lost if nobody sleeps
//   if (const CachedObject* known = sleeps::known_wake(sem)) sleeps::repeat_wake(*known);
//   else sleeps::wake(object, site, who);                                       // dept/sleeps.h
#pragma once

#include "dept/known_locks.h"
#include "dept/waiters.h"

namespace causeway::dept::sleeps {

inline SeenByWake& seen_place(ThreadContext* self, ObjectId object) {
  return self->seen_by_wake[blend(self->chain(), index_of(object)) % kSeenByWakes];
}
inline SeenByWake seen_now(const ThreadContext* self, ObjectId object, uint32_t history, uint32_t flags) {
  return {object, history, self->context_id, self->news, self->chain(), self->salt, flags, 0};
}

// nullptr: something is to be looked at. What the wake is counted as is told by the next one that is.
[[gnu::always_inline]] inline const CachedObject* known_wake(const void* pointer) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return nullptr;
  Tracker& tracker = Tracker::get();
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const CachedObject& entry = Tracker::place_of(self, address);
  if (entry.address == 0 || !Tracker::is_good(entry, address) || locks::stack_pointer() > self->stack_low || self->known_salt == 0 ||
      self->known_wakes == kMostKnownWakes || tracker.settings().noise_us != 0 ||
      (entry.object->flags.load(std::memory_order_relaxed) & Object::kNoCheck) != 0) [[unlikely]]
    return nullptr;
  const Waiters::List* list = tracker.waiters().find(*entry.object);
  if (list != nullptr && list->first.load(std::memory_order_acquire) != nullptr) return nullptr;
  if (self->ring_next != self->context_start) {
    if (list == nullptr || self->generation != tracker.graph().generation() || self->state->given_up.load(std::memory_order_relaxed) != 0)
        [[unlikely]]
      return nullptr;
    if (seen_place(self, entry.id) != seen_now(self, entry.id, list->history_count.load(std::memory_order_relaxed), 0)) return nullptr;
  }
  ++self->known_wakes;
  return &entry;
}

// What remains of it: who takes what it left comes after it.
inline void repeat_wake(const CachedObject& known) {
  const Inside inside;
  Tracker::get().order().release(*ThreadContext::current_inside(), known.id);
}

}  // namespace causeway::dept::sleeps
