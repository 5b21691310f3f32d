// The way of a lock that this thread has taken before, from the same place and holding the same: nothing of it is news. It is compiled
// into each wrapper, calls nothing and writes to the thread's own memory alone.
//
//   locks::Announced announced;
//   if (!locks::announce_known<false>(announced, mutex, Mode::kWrite, site)) return the_long_way();   // dept/locks.h
//   const int result = real(mutex);
//   if (result != 0 || !locks::hold_known(announced)) locks::acquired(..) or locks::not_acquired(..);
//   ...
//   if (!locks::release_known<false>(mutex)) locks::releasing_at(mutex, traits, site);
//   real_unlock(mutex);
//
// A signal may come between any two of these instructions, and its handler take and release locks, the same way. It leaves the list
// as long as it found it, and has written above its end. So each announcement, and each entry that is pushed, has a number
// (ThreadState::waiting_sequence), which is taken before anything is looked at; the list is made longer first, and only then looked at
// whether the number is still the newest: if it is, nobody has written over the entry, and from now on nobody will.
#pragma once

#include <cstring>

#include "dept/dependencies.h"
#include "dept/locks.h"

namespace causeway::dept::locks {

struct Announced {
  ThreadContext* self;
  uint32_t count;     // entries that are held
  uint32_t sequence;
};

inline uintptr_t stack_pointer() {
  uintptr_t value;
#if defined(__x86_64__)
  asm("mov %%rsp, %0" : "=r"(value));
#elif defined(__aarch64__)
  asm("mov %0, sp" : "=r"(value));
#else
  value = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
#endif
  return value;
}

// Of this thread, from now on; not before it is known to who calls, and not after its end.
inline void open_known() {
  detail::tls.may_be_open = true;
  if (detail::tls.inside == 0) detail::tls.open = detail::tls.context;
}
inline bool is_open() { return detail::tls.open != nullptr; }
inline void close_known() {
  detail::tls.may_be_open = false;
  detail::tls.open = nullptr;
}

[[gnu::always_inline]] inline void order_for_handlers() { std::atomic_signal_fence(std::memory_order_seq_cst); }

// Whether everything that decides what the lock means is as it was when `known` was learnt.
[[gnu::always_inline]] inline bool is_still_so(Tracker& tracker, const ThreadContext* self, const KnownLock& known, uint64_t place,
                                               uint64_t site) {
  return known.here.place == place && known.start.site == site && known.here.chain_below == self->chain &&
         known.salt == self->known_salt && self->generation == tracker.graph().generation() &&
         tracker.arena().words<Object>(Table::kObject)[index_of(known.start.object)].generation.load(std::memory_order_relaxed) ==
             known.generation &&
         stack_pointer() <= self->stack_low && self->state->given_up.load(std::memory_order_relaxed) == 0;
}

// Once for each context, and whenever something else has taken its place in the ring.
void remember_again(ThreadContext* self, KnownLock& known);

[[gnu::always_inline]] inline void remember_in_ring(ThreadContext* self, KnownLock& known, bool has_readers, uint32_t now) {
  PastWait& first = self->ring[known.ring[0]];
  PastWait& second = self->ring[has_readers ? known.ring[1] : known.ring[0]];
  if (first.tag != known.tag || first.context != self->context_id ||
      (has_readers && (second.tag != known.tag || second.context != self->context_id))) [[unlikely]]
    return remember_again(self, known);
  if (first.wgen != now || first.epoch != self->epoch) [[unlikely]] {
    first.wgen = second.wgen = now;
    first.epoch = second.epoch = self->epoch;
  }
}

[[gnu::always_inline]] inline void write_held(ThreadContext* self, const KnownLock& known, uint32_t count, uint32_t now) {
  auto* held = reinterpret_cast<char*>(&self->state->held_list[count]);
  const uint64_t line_and_wgen = uint64_t{now} << 32;
  static_assert(offsetof(Held, line) == sizeof(known.start) && offsetof(Held, wgen) == offsetof(Held, line) + 4 &&
                offsetof(Held, chain) == offsetof(Held, line) + 8 && std::endian::native == std::endian::little);
  static_assert(offsetof(Held, chain) + sizeof(known.end) == sizeof(Held));
  std::memcpy(held, &known.start, sizeof known.start);
  std::memcpy(held + offsetof(Held, line), &line_and_wgen, sizeof line_and_wgen);
  std::memcpy(held + offsetof(Held, chain), &known.end, sizeof known.end);
}

// Before the real call. False: it is not known, and nothing has been done.
template <bool kHasReaders>
[[gnu::always_inline]] inline bool announce_known(Announced& announced, const void* pointer, Mode mode, Site site) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return false;
  ThreadState& state = *self->state;
  const uint32_t sequence = state.waiting_sequence.load(std::memory_order_relaxed) + 2;
  state.waiting_sequence.store(sequence, std::memory_order_relaxed);
  order_for_handlers();
  const uint32_t count = self->top;
  const bool is_read = kHasReaders && mode == Mode::kRead;
  const uint64_t place = reinterpret_cast<uintptr_t>(pointer) | (is_read ? HeldHere::kNotInTheWay : 0);
  KnownLock& known = self->known[KnownLock::place_of(place, self->chain, site.where)];
  Tracker& tracker = Tracker::get();
  if (!is_still_so(tracker, self, known, place, site.where) || count >= kHeldHere) [[unlikely]] return false;
  const uint32_t now = tracker.now();
  remember_in_ring(self, known, kHasReaders, now);
  state.waiting_site.store(site.where, std::memory_order_relaxed);
  state.waiting_object.store(index_of(known.start.object), std::memory_order_relaxed);
  write_held(self, known, count, now);
  self->here[count] = known.here;
  announced = {self, count, sequence};
  return true;
}

// After it. False: a handler has come between, and it is not held yet: acquired() is still to be called.
[[gnu::always_inline]] inline bool hold_known(const Announced& announced) {
  ThreadContext* self = announced.self;
  ThreadState& state = *self->state;
  if (self->top != announced.count) [[unlikely]] return false;
  self->top = announced.count + 1;
  order_for_handlers();
  if (state.waiting_sequence.load(std::memory_order_relaxed) != announced.sequence) [[unlikely]] {
    self->top = announced.count;
    return false;
  }
  self->chain = state.held_list[announced.count].chain;
  state.held.store(announced.count + 1, std::memory_order_release);
  state.waiting_object.store(0, std::memory_order_relaxed);
  state.locks.store(state.locks.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return true;
}

// A trylock that has succeeded: nothing was waited for. False: it is not known, and nothing has been done.
template <bool kHasReaders>
[[gnu::always_inline]] inline bool hold_known_try(const void* pointer, Mode mode, Site site) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return false;
  const Inside inside;
  ThreadState& state = *self->state;
  const uint32_t count = self->top;
  const bool is_read = kHasReaders && mode == Mode::kRead;
  const uint64_t place = reinterpret_cast<uintptr_t>(pointer) | (is_read ? HeldHere::kNotInTheWay : 0);
  KnownLock& known = self->known[KnownLock::place_of(place | KnownLock::kByTry, self->chain, site.where)];
  Tracker& tracker = Tracker::get();
  if (!is_still_so(tracker, self, known, place | KnownLock::kByTry, site.where) || count >= kHeldHere) [[unlikely]] return false;
  self->failed_tries = 0;
  state.waiting_sequence.store(state.waiting_sequence.load(std::memory_order_relaxed) + 2, std::memory_order_relaxed);
  write_held(self, known, count, tracker.now());
  self->here[count] = {place, self->chain};
  self->top = count + 1;
  self->chain = known.end.chain;
  state.held.store(count + 1, std::memory_order_release);
  state.locks.store(state.locks.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return true;
}

// Before the real unlock, of what was taken last. False: it is another, or something else is to be done first.
template <bool kHasReaders>
[[gnu::always_inline]] inline bool release_known(const void* pointer) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return false;
  ThreadState& state = *self->state;
  const uint32_t newest = self->top - 1;
  if (newest >= kHeldHere) [[unlikely]] return false;
  const HeldHere& here = self->here[newest];
  const uint64_t place = kHasReaders ? here.place & ~HeldHere::kNotInTheWay : here.place;
  if (place != reinterpret_cast<uintptr_t>(pointer) || self->pending != 0 || state.given_up.load(std::memory_order_relaxed) != 0)
      [[unlikely]]
    return false;
  self->chain = here.chain_below;
  order_for_handlers();
  self->top = newest;
  order_for_handlers();
  state.held.store(newest, std::memory_order_release);
  return true;
}

}  // namespace causeway::dept::locks
