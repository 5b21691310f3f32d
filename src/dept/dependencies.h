// The inner parts of waits and event contexts that every lock passes through, small enough to be compiled into it; and the
// walk over what an event's thread has waited for.
//
//   remember_wait(self, cls, object, event, site, now, 0, StackId::kNone);
//   tracker.each_in_window(self, window, [&](ClassId to, const Witness& witness, uint64_t key) { ... });
#pragma once

#include "dept/hash.h"
#include "dept/tracker.h"

namespace causeway::dept {

// One multiplication, for caches that compare all of it.
inline uint64_t blend(uint64_t hash, uint64_t word) {
  const uint64_t x = (hash ^ word) * 0x9e3779b97f4a7c15;
  return x ^ (x >> 32);
}

// An object's part in hashes of what is held. Records are used again: by then their generation has changed.
inline uint64_t seed_of(ObjectId object, uint32_t generation) { return mix(index_of(object), generation); }

inline uint64_t chain_after(uint64_t below, uint64_t seed, Event event, uint8_t nesting, uint8_t flags) {
  return blend(below, seed + (uint64_t{flags} << 16 | uint64_t{nesting} << 8 | static_cast<uint64_t>(event)) * 2 + 1);
}

// What a context has waited for is a set: the same again only renews when. And consecutive waits on one class are one, the newest, so
// that a walk over a thousand objects leaves one. Entries lie in the order in which they came (PastWait::born), but for their newest wgen.
// Returns where the ring has it.
inline uint32_t remember_wait(ThreadContext* self, ClassId cls, ObjectId object, Event event, Site site, uint32_t now, uint32_t flags,
                          StackId stack) {
  const uint64_t what = blend(self->chain() + self->context_id, uint64_t{index_of(cls)} << 32 | index_of(object)) + flags;
  uint32_t& known = self->ring_index[(what + static_cast<unsigned>(event)) % kRingIndex];
  uint32_t position = known;
  const PastWait& there = self->ring[position % kRing];
  const bool is_known = position < self->ring_next && self->ring_next - position <= kRing && there.cls == cls && there.object == object &&
                        there.event == event && there.context == self->context_id && there.chain == self->chain() && there.flags == flags;
  if (!is_known) {
    position = self->ring_next;
    if (position != self->context_start) {
      const PastWait& last = self->ring[(position - 1) % kRing];
      if (last.cls == cls && last.context == self->context_id) --position;
    }
    known = position;
  }
  PastWait& wait = self->ring[position % kRing];
  if (!is_known) {
    wait.born = ++self->news;
    wait.tag = 0;
    ++self->stamp;
  }
  wait.again = position != self->ring_next && wait.object == object && wait.site == site.where && wait.line == site.line;
  wait.cls = cls;
  wait.object = object;
  wait.wgen = now;
  wait.context = self->context_id;
  wait.site = site.where;
  wait.chain = self->chain();
  wait.line = site.line;
  wait.flags = flags;
  wait.stack = stack;
  wait.epoch = self->epoch;
  wait.event = event;
  if (position == self->ring_next) self->ring_next = position + 1;
  return position;
}

// What it waits for, for who looks from outside. The time is left out: who looks has a clock.
inline void begin_waiting(ThreadContext* self, ObjectId object, ClassId cls, EventMask events, Site site, bool timed) {
  ThreadState& state = *self->state;
  const uint32_t sequence = state.waiting_sequence.load(std::memory_order_relaxed);
  state.waiting_class.store(index_of(cls), std::memory_order_relaxed);
  state.waiting_site.store(site.where, std::memory_order_relaxed);
  state.waiting_flags.store((timed ? uint32_t{Witness::kTimed} : 0) | uint32_t{events} << 16, std::memory_order_relaxed);
  state.set_waiting(object);
  state.waiting_sequence.store(sequence + 2, std::memory_order_release);
  ++self->not_locks;
}
inline void end_waiting(ThreadContext* self) {
  ThreadState& state = *self->state;
  state.waiting_class.store(0, std::memory_order_relaxed);
  state.waiting_flags.store(0, std::memory_order_relaxed);
  state.waiting_site.store(0, std::memory_order_relaxed);  // the short way of a lock leaves these as they are
  state.set_waiting(ObjectId::kNone);
}

inline HeldHere here_of(const Held& held, uint64_t address) {
  const bool is_shared = (held.flags & (Held::kShared | Held::kIgnored | Held::kTentative)) != 0;
  return {address | (is_shared ? HeldHere::kNotInTheWay : 0) | (held.depth > 1 ? HeldHere::kDeep : 0), held.chain};
}

inline bool is_lock(Kind kind) { return kind == Kind::kMutex || kind == Kind::kSpinLock || kind == Kind::kRwLock; }

// Whether the wait that the ring has at `position` was one of several at this place for the same object.
inline bool has_waited_again(const ThreadContext* self, uint32_t position, uint32_t first) {
  const PastWait& wait = self->ring[position % kRing];
  if (wait.again) return true;
  for (uint32_t i = self->ring_next; i-- > first;) {
    const PastWait& other = self->ring[i % kRing];
    if (i != position && other.object == wait.object && other.cls == wait.cls && other.site == wait.site && other.line == wait.line)
      return true;
  }
  return false;
}

// Whether what is held was taken at its place before.
inline bool was_taken_before(const ThreadContext* self, const Held& held) {
  const uint32_t oldest = self->ring_next > kRing ? self->ring_next - kRing : 0;
  for (uint32_t i = self->ring_next; i-- > oldest;) {
    const PastWait& wait = self->ring[i % kRing];
    if (wait.object == held.object && wait.site == held.site && wait.line == held.line) return has_waited_again(self, i, oldest);
  }
  return false;
}

template <typename Visit>
void Tracker::each_in_window(ThreadContext* self, const WindowOf& window, Visit&& visit) {
  if (window.cls == ClassId::kNone) return;
  const Kind kind = arena_.at<Object>(window.object).kind;
  const uint32_t oldest = self->ring_next > kRing ? self->ring_next - kRing : 0;
  uint32_t first = window.any_context ? 0 : self->context_start;
  if (first < oldest) {
    if (window.part != WindowOf::Part::kPredicted) arena_.count(Counter::kRingTooSmall);
    first = oldest;
  }
  bool goes_round = window.any_context;  // what follows, as far as it has been seen, is of one loop
  for (uint32_t i = self->ring_next; i-- > first;) {
    const PastWait& past_wait = self->ring[i % kRing];
    if (goes_round) goes_round = has_waited_again(self, i, first);
    const bool is_asked = window.wgen != 0 && static_cast<int32_t>(past_wait.wgen - window.wgen) > 0;
    if (window.part == WindowOf::Part::kAsked && !is_asked) continue;
    if (window.part == WindowOf::Part::kPredicted) {
      if (static_cast<int32_t>(past_wait.born - window.born_after) <= 0) break;
      if (is_asked) continue;
    }
    if (past_wait.cls == window.cls || past_wait.cls == ClassId::kNone) continue;
    if (past_wait.context != self->context_id && !window.any_context) continue;
    if (past_wait.object == window.object && kind == Kind::kBarrier) continue;
    if (self->scheduler != 0 && (past_wait.flags & kSchedulerSleep) != 0) continue;
    if (!is_asked && !settings_.predict) continue;
    // What a thread takes round after round, up to its end, it may take once more, asked for or not. One that has
    // done something else since is through with its rounds. An event that it waits for between them is what ends them.
    const bool is_owned = !is_asked && goes_round && is_lock(arena_.at<Object>(past_wait.object).kind);
    const uint32_t flags = (past_wait.flags & ~kSchedulerSleep) | window.flags |
                           (is_asked ? uint32_t{Witness::kWindow} : is_owned ? uint32_t{Witness::kOwned} : uint32_t{Witness::kPredicted});
    // What it held then, as far as it holds it still.
    const uint32_t held_then = entries_of(self, past_wait.chain);
    Witness witness = witness_of(self, window.object, window.event, past_wait.object, past_wait.event, flags);
    witness.hash = Graph::hash_of(witness, guards_hash(self, held_then, window.object));
    const uint64_t key = mix(mix(witness.hash, uint64_t{index_of(window.cls)} << 32 | index_of(past_wait.cls)), self->salt);
    if (self->chains[key % kChainCache] == key) continue;
    witness.epoch = past_wait.epoch;
    if (!graph_.wants(window.cls, past_wait.cls, witness)) {
      remember(self, key);
      continue;
    }
    witness.start = window.requested_at;
    witness.wait = stack_of(past_wait);
    witness.event = window.stack.id(arena_);
    // What it has learnt of others since that wait is not what it knew then.
    witness.clock = static_cast<int32_t>(past_wait.epoch - self->clock_changed) < 0 ? ClockId::kNone : order_.snapshot(*self);
    fill_guards(self, held_then, window.object, witness);
    visit(past_wait.cls, static_cast<const Witness&>(witness), key);
  }
  if (window.wgen == 0 || window.any_context || window.part == WindowOf::Part::kPredicted) return;
  // Interruptions that may have come since it was asked for.
  IrqMask enabled = self->enabled;
  for (unsigned irq = 0; irq < 64 && enabled != 0; ++irq) {
    if ((enabled >> irq & 1) != 0 && static_cast<int32_t>(self->enabled_wgen[irq] - window.wgen) <= 0) enabled &= ~(IrqMask{1} << irq);
  }
  if (enabled != 0) {
    Held open{};
    open.object = window.object;
    open.cls = window.cls;
    open.stack = window.stack.id(arena_);
    open.event = window.event;
    irq_contexts(self, open, enabled);
  }
}

}  // namespace causeway::dept
