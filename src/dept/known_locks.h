// The way of a lock that this thread has taken before, from the same place and holding the same: nothing of it is news. It is compiled
// into each wrapper, calls nothing and writes to the thread's own memory alone.
//
//   locks::Announced announced;
//   if (!locks::announce_known<false>(announced, mutex, Mode::kWrite, site) &&
//       !locks::announce_renewed<false>(announced, mutex, Mode::kWrite, site)) return the_long_way();   // dept/locks.h
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

#include "dept/dependencies.h"
#include "dept/locks.h"

namespace causeway::dept::locks {

struct Announced {
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

// The entry for what is known, above those that are held; nullptr: it is not known. What is shared is looked at through Header::now alone,
// which advances whenever something known ends. Every instruction counts here: the atomic ones of lock and unlock hide the first forty.
template <uint64_t kBy>
[[gnu::always_inline]] inline const KnownLock* write_known(ThreadContext* self, uint32_t count, uint64_t place, Site site) {
  const KnownLock& known = self->known_now_of(place | kBy, site.where);
  if (known.place != (place | kBy) || known.held.site != site.where || count >= kHeldHere || known.chain_below != self->below[count].chain)
      [[unlikely]]
    return nullptr;
  if (known.stamp != self->stamp || known.held.wgen != Tracker::get().now() || stack_pointer() > self->stack_low) [[unlikely]] return nullptr;
  detail::tls.state->held_list[count] = known.held;
  HeldHere& here = self->here(count);
  here.place = place;
  order_for_handlers();  // two plain stores are sooner done than one that is put together
  here.chain = known.held.chain;
  return &known;
}

// The number of what is about to be written, taken before anything is looked at.
[[gnu::always_inline]] inline uint32_t next_sequence(ThreadState& state) {
  const uint32_t sequence = state.waiting_sequence.load(std::memory_order_relaxed) + 2;
  state.waiting_sequence.store(sequence, std::memory_order_relaxed);
  order_for_handlers();
  return sequence;
}

template <bool kHasReaders>
inline uint64_t held_place(const void* pointer, Mode mode) {
  return reinterpret_cast<uintptr_t>(pointer) | (kHasReaders && mode == Mode::kRead ? HeldHere::kNotInTheWay : 0);
}

// Before the real call. False: it is not known, and nothing has been done.
template <bool kHasReaders>
[[gnu::always_inline]] inline bool announce_known(Announced& announced, const void* pointer, Mode mode, Site site) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return false;
  ThreadState& state = *detail::tls.state;
  const uint32_t sequence = next_sequence(state);
  const uint32_t count = detail::tls.top;
  const KnownLock* known = write_known<0>(self, count, held_place<kHasReaders>(pointer, mode), site);
  if (known == nullptr) [[unlikely]] {
    ++self->not_locks;
    return false;
  }
  state.held_and_waiting.store(uint64_t{index_of(known->held.object)} << 32 | count, std::memory_order_relaxed);
  announced = {count, sequence};
  return true;
}

// After it. False: a handler has come between, and it is not held yet: acquired() is still to be called.
[[gnu::always_inline]] inline bool hold_known(const Announced& announced) {
  ThreadState& state = *detail::tls.state;
  if (detail::tls.top != announced.count) [[unlikely]] {
    ++detail::tls.context->not_locks;
    return false;
  }
  detail::tls.top = announced.count + 1;
  order_for_handlers();
  if (state.waiting_sequence.load(std::memory_order_relaxed) != announced.sequence) [[unlikely]] {
    detail::tls.top = announced.count;
    ++detail::tls.context->not_locks;
    return false;
  }
  state.held_and_waiting.store(announced.count + 1, std::memory_order_release);
  return true;
}

// A trylock that has succeeded: nothing was waited for. False: it is not known, or a handler has come between, and it is not held yet.
template <bool kHasReaders>
[[gnu::always_inline]] inline bool hold_known_try(const void* pointer, Mode mode, Site site) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return false;
  const uint32_t sequence = next_sequence(*detail::tls.state);
  const uint32_t count = detail::tls.top;
  if (write_known<KnownLock::kByTry>(self, count, held_place<kHasReaders>(pointer, mode), site) == nullptr) [[unlikely]] {
    ++self->not_locks;
    return false;
  }
  self->failed_tries = 0;
  return hold_known({count, sequence});
}

// The same where something that has nothing to do with this lock has changed since: it is looked at once more, and its wait is remembered.
bool renew_known(uint64_t place, Site site);
template <bool kHasReaders>
inline bool announce_renewed(Announced& announced, const void* pointer, Mode mode, Site site) {
  return renew_known(held_place<kHasReaders>(pointer, mode), site) && announce_known<kHasReaders>(announced, pointer, mode, site);
}
template <bool kHasReaders>
inline bool hold_renewed_try(const void* pointer, Mode mode, Site site) {
  return renew_known(held_place<kHasReaders>(pointer, mode) | KnownLock::kByTry, site) &&
         hold_known_try<kHasReaders>(pointer, mode, site);
}

// Before the real unlock, of what was taken last. False: it is another, or something else is to be done first.
template <bool kHasReaders>
[[gnu::always_inline]] inline bool release_known(const void* pointer) {
  ThreadContext* self = detail::tls.open;
  if (self == nullptr) [[unlikely]] return false;
  const uint32_t count = detail::tls.top;
  if (count > kHeldHere) [[unlikely]] return false;
  const uint64_t newest = self->below[count].place;  // below the first it is nobody's
  const uint64_t place = kHasReaders ? newest & ~HeldHere::kNotInTheWay : newest;
  if (place != reinterpret_cast<uintptr_t>(pointer) || self->pending != 0) [[unlikely]] return false;
  detail::tls.top = count - 1;
  order_for_handlers();
  detail::tls.state->held_and_waiting.store(count - 1, std::memory_order_release);
  return true;
}

}  // namespace causeway::dept::locks
