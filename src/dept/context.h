// What a tracker knows of a thread that lives: what it holds, what it has waited for, in which context it runs.
//
//   ThreadContext* self = ThreadContext::current();    // nullptr: the tracker is off, or this thread is inside it
//   if (self == nullptr) return;
//   Inside inside;                                     // until the end of the scope a signal handler finds nullptr
//
// Two parts: ThreadState in the arena, which others read, and this, which nobody else does. A *context* is one flow of control: a
// client's request, a work item, a signal handler. Waits of another context than the one that makes an event
// happen say nothing about it (spec 1.10).
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/records.h"

namespace causeway::dept {

inline constexpr unsigned kRing = 256;  // waits remembered, newest last

struct alignas(64) PastWait {
  ClassId cls;
  ObjectId object;
  uint32_t wgen;      // Header::now when it waited
  uint32_t context;   // ThreadContext::context_id then
  uint64_t site;
  uint64_t chain;     // ThreadContext::chain then: of what it held
  uint32_t line;
  uint32_t flags;     // Witness::kTimed ...; kSchedulerSleep
  StackId stack;
  uint32_t epoch;     // own component of the vector clock then
  uint32_t tag;       // by which a KnownLock finds it again; 0: none yet
  uint32_t born;      // ThreadContext::news when it came; greater further on
  Event event;
  bool again;         // it was waited for at this place before
};
inline constexpr uint32_t kSchedulerSleep = 1u << 31;

// A wait that was announced and has not slept yet.
struct StagedWait {
  bool is_staged = false;
  ObjectId object = ObjectId::kNone;
  ClassId cls = ClassId::kNone;
  Site site;
  bool timed = false;
  uint32_t wgen = 0;  // 0 until it is committed
  StackId first_stack = StackId::kNone;
};

// What the path of an uncontended lock needs of its object, by address.
struct CachedObject {
  uint64_t address;
  Object* object;
  uint64_t seed;        // its part in hashes of what is held
  ObjectId id;
  uint32_t generation;  // of the record: another one, and this is stale
};
inline constexpr unsigned kObjectCache = 512;
// Hashes of everything held and a target: known, no edge of it is news.
inline constexpr unsigned kChainCache = 2048;
// The held list once more, as far as it goes: what a release looks at, and what the child of a fork finds as it was.
struct HeldHere {
  uint64_t place;        // the address and, where no address has bits, these
  uint64_t chain;        // hash of this entry and all below it
  // The bit below is that of KnownLock. Its unlock is not of the short way: the C library may refuse it.
  static constexpr uint64_t kSlowly = uint64_t{1} << 61;
  static constexpr uint64_t kNotInTheWay = uint64_t{1} << 62;  // of others: shared, or not held for sure
  static constexpr uint64_t kDeep = uint64_t{1} << 63;         // held more than once
  static constexpr uint64_t kFlags = uint64_t{7} << 61;
  uint64_t address() const { return place & ~kFlags; }
};
// A lock that was taken from one place while certain others were held, and what becomes of the lists when it is taken so again.
struct alignas(64) KnownLock {
  static constexpr uint64_t kByTry = uint64_t{1} << 61;  // in `place`: by a trylock
  uint64_t place;          // HeldHere::place
  uint64_t chain_below;
  Held held;               // the entry itself
  uint32_t generation;     // Object::generation
  uint32_t stamp;          // in known_now: ThreadContext::stamp when it was put there, and held.wgen was Header::now
};
static_assert(sizeof(KnownLock) == 64);
// What else decides whether it is still so; and where its wait is remembered.
struct KnownWait {
  static constexpr uint32_t kNoTag = UINT32_MAX;
  uint32_t salt;           // ThreadContext::known_salt
  uint32_t tags[2];        // PastWait::tag: one wait, or those for writers and for readers
  uint8_t ring[2];
};
inline constexpr unsigned kKnownBits = 9, kKnownNowBits = 7;
static_assert(kRing <= 256);
// What a wake of an object, made while holding the same, has looked at already.
struct SeenByWake {
  ObjectId object;
  uint32_t history;  // of who slept there: Waiters::List::history_count
  uint32_t context;
  uint32_t news;
  uint64_t chain;
  uint64_t salt;
  uint32_t flags;
  uint32_t unused;
  friend bool operator==(const SeenByWake&, const SeenByWake&) = default;
};
inline constexpr unsigned kSeenByWakes = 1024;
inline constexpr uint32_t kMostKnownWakes = 64;
// What a sleep on an object is, by the object and the innermost callers.
struct KnownSleep {
  uint64_t key;
  ClassId cls;
  StackId stack;
};
inline constexpr unsigned kKnownSleeps = 64;
inline constexpr unsigned kRingIndex = 512;
inline constexpr unsigned kHeldHere = 64;
inline constexpr unsigned kStackObjects = 32;
inline constexpr unsigned kIrqDepth = 8;

struct ThreadContext {
  ThreadState* state;
  uintptr_t stack_low;       // lowest address of stack_objects; the highest there is if there are none
  uint32_t generation;       // Graph::generation() that `salt` knows of
  uint32_t stamp;            // another one: something that a KnownLock relies on has changed
  uint32_t pending;          // wakes that this thread has not confirmed (dept/waiters.h)
  uint32_t* top;             // entries that are held: Tls::top; ThreadState::held() follows it
  uint32_t known_salt;       // of `salt`; 0: no lock is taken the short way
  uint32_t context_id;       // of the flow that runs: changes at each begin
  uint32_t epoch;            // own component of the vector clock
  uint32_t ring_tags;        // given so far
  uint32_t not_locks;        // changes of ThreadState::waiting_sequence that were no lock taken, less the other way round
  uint32_t locks_told;       // to Counter::kLocks
  uint64_t salt;             // what else decides which edges a wait makes: interruptions, what the graph wants to know
  ThreadId thread;
  uint32_t ring_next;
  uint32_t context_start;    // ring_next when the context began
  uint32_t missed;           // locks taken while inside or off, for which a release will come
  uint32_t task_off;         // depth of dept_off()
  ThreadContext* next_thread;  // of all that live; Tracker's
  ThreadContext** previous_thread;
  uintptr_t stack_top;       // above everything on this thread's stack; 0: not known
  uint32_t stack_count;
  ObjectId stack_objects[kStackObjects];
  uint32_t process_context;  // that of the thread itself, under interruptions
  IrqMask enabled;           // interruptions that may come
  uint32_t enabled_wgen[64]; // when each was last enabled
  uint8_t irq_depth;
  uint8_t irq[kIrqDepth];             // kinds of the interruptions that are under way
  uint32_t irq_held[kIrqDepth];       // entries that the flow below held
  uint32_t irq_context[kIrqDepth];    // its context_id
  uint32_t irq_start[kIrqDepth];      // its context_start
  IrqMask irq_enabled[kIrqDepth];     // what might interrupt it
  uint8_t scheduler;         // depth of in_scheduler()
  uint32_t clock;            // of order.cc: private
  uint32_t clock_changed;    // `epoch` when it last learnt of others
  ClockId snapshot;          // of `clock`, while nothing has changed
  uint32_t random;
  uint64_t failed_try;       // hash of object and site of the newest failed trylock
  uint32_t failed_tries;     // in a row
  uint32_t failed_since;     // ThreadState::waiting_sequence at the first of them
  StagedWait staged;
  PastWait ring[kRing];
  uint32_t ring_index[kRingIndex];  // where in the ring a wait may be, by what it is
  uint32_t news;             // waits that were new to their context so far
  SeenByWake seen_by_wake[kSeenByWakes];
  KnownSleep known_sleeps[kKnownSleeps];
  uint32_t waits, events, events_unasked;  // Tracker::count_often()
  uint32_t known_wakes;      // of known_wakes.h, since they were last counted
  HeldHere below[kHeldHere + 1];  // [i]: what lies below entry i, the newest of it; below the first is nothing
  KnownLock known_now[1u << kKnownNowBits];  // of each lock and site the newest: found without looking at what is held
  KnownLock known[1u << kKnownBits];
  KnownWait known_waits[1u << kKnownBits];  // of each in `known`
  uint64_t chains[kChainCache];
  CachedObject objects[kObjectCache];

  // Of the calling thread, made at its first call; nullptr while it is inside the tracker, or cannot be tracked.
  static ThreadContext* current();
  // The same inside the tracker; nullptr if the thread was never outside.
  static ThreadContext* current_inside();

  Held* held_list() const { return state->held_list; }
  uint32_t held() const { return *top; }
  // Where `entry` < kHeldHere.
  HeldHere& here(uint32_t entry) { return below[entry + 1]; }
  static uint32_t known_hash(uint64_t place, uint64_t site) { return static_cast<uint32_t>(place + site) * 0x9e3779b1; }
  KnownLock& known_now_of(uint64_t place, uint64_t site) { return known_now[known_hash(place, site) >> (32 - kKnownNowBits)]; }
  unsigned known_index(uint64_t place, uint64_t site, uint64_t chain) const {
    return (known_hash(place, site) ^ static_cast<uint32_t>(chain)) >> (32 - kKnownBits);
  }
  // Hash of the first `count` entries; of everything held.
  uint64_t chain_of(uint32_t count) const { return count <= kHeldHere ? below[count].chain : held_list()[count - 1].chain; }
  uint64_t chain() const { return chain_of(held()); }
  // The first entry of the flow that runs: below it are those of flows that it interrupts.
  uint32_t first_held() const { return irq_depth == 0 ? 0 : irq_held[irq_depth - 1]; }
};

namespace detail {

struct Tls {
  ThreadContext* context;
  ThreadContext* open;  // the same where the short way of a lock may be gone: outside, and allowed
  ThreadState* state;   // and its state
  uint32_t top;         // entries that it holds
  uint32_t inside;      // depth of calls into the tracker: not 0 while one is under way
  bool may_be_open;
};
extern __thread Tls tls __attribute__((tls_model("initial-exec")));
extern std::atomic<bool> is_on;
ThreadContext* make_context();
// The thread has ended for the tracker, or cannot be tracked: nothing of it is seen any more.
inline constexpr uint32_t kNeverAgain = 1u << 30;

}  // namespace detail

inline ThreadContext* ThreadContext::current() {
  if (!detail::is_on.load(std::memory_order_relaxed) || detail::tls.inside != 0) [[unlikely]] return nullptr;
  ThreadContext* context = detail::tls.context;
  return context != nullptr ? context : detail::make_context();
}

inline ThreadContext* ThreadContext::current_inside() { return detail::tls.context; }

// While one lives, the thread is inside the tracker: what it calls back, and signal handlers, pass it by.
class Inside {
 public:
  Inside() : was_open_(detail::tls.open != nullptr) {
    // In this order: a handler that comes between may still go the short way, there and back, and disturbs nothing.
    detail::tls.inside = detail::tls.inside + 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    detail::tls.open = nullptr;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~Inside() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const uint32_t outer = detail::tls.inside - 1;
    detail::tls.inside = outer;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if ((outer == 0 || was_open_) && detail::tls.may_be_open) detail::tls.open = detail::tls.context;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  const bool was_open_;
};

}  // namespace causeway::dept
