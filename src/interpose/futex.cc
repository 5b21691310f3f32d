// syscall(2) as far as it is a futex: std::future, latch, barrier, counting_semaphore, atomic wait, and locks that programs make
// themselves. Everything else passes through with its six arguments.
//
// A wait is by its place, as with conditions. A futex may also be part of a lock, of which nothing is seen but what contends: who wakes one
// other there is taken to have held it for a while (Witness::kInferred).
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dept/locks.h"
#include "interpose/bootstrap.h"
#include "interpose/real.h"
#include "interpose/sleeping.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(syscall);

namespace {

// Younger than the headers that this is compiled with.
constexpr long kFutexWaitv = 449, kFutexWake = 454, kFutexWait = 455, kFutexRequeue = 456;
constexpr ObjectTraits kTraits{.kind = Kind::kFutex};

struct Call {
  long number;
  long a[6];
};

enum class Does : uint8_t { kOther, kWait, kWakeOne, kWakeAll, kLock, kUnlock };

struct Meaning {
  Does does = Does::kOther;
  const void* address = nullptr;
  const void* also_wakes = nullptr;
  bool timed = false;
};

Does wakes(long count) { return count == 1 ? Does::kWakeOne : Does::kWakeAll; }
const void* pointer(long argument) { return reinterpret_cast<const void*>(argument); }

Meaning of_futex(const Call& call) {
  const void* address = pointer(call.a[0]);
  const void* second = pointer(call.a[4]);
  const bool timed = call.a[3] != 0;
  switch (call.a[1] & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAIT_REQUEUE_PI: return {Does::kWait, address, nullptr, timed};
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: return {wakes(call.a[2]), address};
    // Those who are moved wait for the second one from then on, and are woken by its own wakes: their place of waiting is the first.
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_CMP_REQUEUE_PI: return {Does::kWakeAll, address};
    case FUTEX_WAKE_OP: return {wakes(call.a[2]), address, second};
    case FUTEX_LOCK_PI:
    case 13: return {Does::kLock, address, nullptr, timed};
    case FUTEX_UNLOCK_PI: return {Does::kUnlock, address};
    default: return {};
  }
}

// struct futex_waitv.
struct WaitOne {
  uint64_t value, address;
  uint32_t flags, reserved;
};

Meaning meaning_of(const Call& call) {
  switch (call.number) {
    case SYS_futex: return of_futex(call);
    case kFutexWaitv:
      // Of several, any may end it: that is no dependency on one.
      if (call.a[1] != 1) return {};
      return {Does::kWait, pointer(static_cast<long>(reinterpret_cast<const WaitOne*>(call.a[0])->address)), nullptr, call.a[3] != 0};
    case kFutexWake: return {wakes(call.a[2]), pointer(call.a[0])};
    case kFutexWait: return {Does::kWait, pointer(call.a[0]), nullptr, call.a[4] != 0};
    case kFutexRequeue: return {Does::kWakeAll, pointer(static_cast<long>(reinterpret_cast<const WaitOne*>(call.a[0])->address))};
    default: return {};
  }
}

// What this thread has waited for lately, as if for a lock.
struct LockWait {
  ObjectId object;
  uint32_t begin, end;  // generations: ArenaHeader::now
  uint32_t context;
  bool holds;           // it came back with the lock, and has not given it back
};
constexpr unsigned kLockWaits = 8;
struct LockWaits {
  LockWait entry[kLockWaits];
  unsigned next;
};
thread_local LockWaits lock_waits{};

uint32_t now() { return Tracker::get().arena().header().now.load(std::memory_order_relaxed); }
bool is_after(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

// The lock of most who make one: 0 is free, 1 taken, 2 taken and waited for, which is what one sleeps on.
constexpr long kTakenAndWanted = 2;

bool is_lock_like(ObjectId object) {
  const uint32_t flags = Tracker::get().arena().at<Object>(object).flags.load(std::memory_order_relaxed);
  return (flags & (Object::kLockLike | Object::kSignalLike)) == Object::kLockLike;
}

void learn(ObjectId object, const Call& call) {
  const bool as_lock = call.number == SYS_futex && call.a[2] == kTakenAndWanted;
  const uint32_t flag = as_lock ? Object::kLockLike : Object::kSignalLike;
  std::atomic<uint32_t>& flags = Tracker::get().arena().at<Object>(object).flags;
  if ((flags.load(std::memory_order_relaxed) & flag) == 0) flags.fetch_or(flag, std::memory_order_relaxed);
}

// Since when this thread has held a lock that it gives back: since it came back from waiting for it; or, if it had it without, at least
// since before it waited for whatever it waited for when somebody began to want this one. 0: nothing is known.
uint32_t held_since(ThreadContext* self, ObjectId object) {
  for (LockWait& wait : lock_waits.entry) {
    if (wait.object != object || !wait.holds || wait.context != self->context_id) continue;
    wait.holds = false;
    return wait.end;
  }
  const uint32_t wanted = Tracker::get().arena().at<Object>(object).wgen.load(std::memory_order_relaxed);
  for (const LockWait& wait : lock_waits.entry) {
    if (wait.object == ObjectId::kNone || wait.object == object || wait.context != self->context_id) continue;
    if (wanted != 0 && !is_after(wait.begin, wanted) && !is_after(wanted, wait.end)) {
      return wait.begin == 1 ? UINT32_MAX : wait.begin - 1;  // 0 is nobody
    }
  }
  return 0;
}

// As a lock, it could not be given back before what it waited for in between had come.
void gives_back(ThreadContext* self, ObjectId object, Site site) {
  const uint32_t since = held_since(self, object);
  if (since == 0) return;
  Tracker& tracker = Tracker::get();
  tracker.event(self, tracker.graph().class_of(object, Event::kWrite), object, since, site, StackId::kNone, Witness::kInferred);
}

void wake(const void* address, Site site, sleeps::Wakes who) {
  const ObjectId object = Tracker::get().find_object(address);
  ThreadContext* self = ThreadContext::current();
  if (object == ObjectId::kNone || self == nullptr) return;
  if (!is_lock_like(object)) {
    sleeps::wake(object, site, who);
  } else if (who == sleeps::Wakes::kOne) {
    gives_back(self, object, site);
  }
}

sleeps::Outcome outcome_of(long result) {
  if (result >= 0) return sleeps::Outcome::kWoken;
  switch (errno) {
    case ETIMEDOUT: return sleeps::Outcome::kTimedOut;
    case EINTR: return sleeps::Outcome::kInterrupted;
    default: return sleeps::Outcome::kDidNotSleep;
  }
}

long forward(const Call& call) {
  return CW_REAL(syscall)(call.number, call.a[0], call.a[1], call.a[2], call.a[3], call.a[4], call.a[5]);
}

// Who comes back from a lock has not begun anything new, and is after nobody.
long waits_for_lock(const Call& call, const Meaning& meaning, ObjectId object, Site site) {
  Tracker& tracker = Tracker::get();
  LockWait wait{};
  {
    const KeepErrno errno_is_kept;
    locks::acquiring(object, locks::Mode::kWrite, site, {.timed = meaning.timed, .flags = Witness::kInferred});
    if (ThreadContext* self = ThreadContext::current()) {
      wait = {object, now(), 0, self->context_id, true};
      tracker.request(self, tracker.arena().at<Object>(object).wgen);
    }
  }
  const long result = forward(call);
  const KeepErrno errno_is_kept;
  locks::not_acquired(object);
  wait.end = now();
  lock_waits.entry[lock_waits.next++ % kLockWaits] = wait;
  return result;
}

[[gnu::noinline]] long waits(const Call& call, const Meaning& meaning, Site site) {
  sleeping::Slot* slot = nullptr;
  ObjectId lock = ObjectId::kNone;
  {
    const KeepErrno errno_is_kept;
    const ObjectId object = Tracker::get().object_at(meaning.address, kTraits, site);
    if (object != ObjectId::kNone) learn(object, call);
    if (object != ObjectId::kNone && is_lock_like(object)) {
      lock = object;
    } else {
      slot = sleeping::begin(object, site, {.timed = meaning.timed, .loops = true});
    }
  }
  if (lock != ObjectId::kNone) return waits_for_lock(call, meaning, lock, site);
  const long result = forward(call);
  const KeepErrno errno_is_kept;
  sleeping::end(slot, outcome_of(result));
  return result;
}

[[gnu::noinline]] long futex(const Call& call, const Meaning& meaning, Site site) {
  Tracker& tracker = Tracker::get();
  tracker.arena().count(Counter::kRawFutex);
  switch (meaning.does) {
    case Does::kWait: return waits(call, meaning, site);
    case Does::kWakeOne:
    case Does::kWakeAll: {
      const KeepErrno errno_is_kept;
      const sleeps::Wakes who = meaning.does == Does::kWakeOne ? sleeps::Wakes::kOne : sleeps::Wakes::kAll;
      wake(meaning.address, site, who);
      if (meaning.also_wakes != nullptr) wake(meaning.also_wakes, site, sleeps::Wakes::kAll);
      break;
    }
    case Does::kLock: {
      ObjectId object;
      const locks::How how{.timed = meaning.timed, .flags = Witness::kInferred};
      {
        const KeepErrno errno_is_kept;
        object = tracker.object_at(meaning.address, kTraits, site);
        locks::acquiring(object, locks::Mode::kWrite, site, how);
      }
      const long result = forward(call);
      const KeepErrno errno_is_kept;
      if (result == 0) {
        locks::acquired(object, locks::Mode::kWrite, site, how);
      } else {
        locks::not_acquired(object);
      }
      return result;
    }
    case Does::kUnlock: {
      const KeepErrno errno_is_kept;
      ThreadContext* self = ThreadContext::current();
      const ObjectId object = tracker.find_object(meaning.address);
      // One that was taken without the kernel is not known to be held.
      if (self != nullptr && object != ObjectId::kNone) tracker.leave(self, object, bit(Event::kWrite));
      break;
    }
    case Does::kOther: break;
  }
  return forward(call);
}

bool is_futex(long number) { return number == SYS_futex || number == kFutexWaitv || (number >= kFutexWake && number <= kFutexRequeue); }

}  // namespace

// Arguments that were not passed are whatever lies there, and reach a system call that does not look at them.
CW_INTERPOSE long syscall(long number, ...) noexcept {
  Call call{number, {}};
  va_list more;
  va_start(more, number);
  for (long& argument : call.a) argument = va_arg(more, long);
  va_end(more);
  if (__builtin_expect(is_futex(number), 0) && tracked()) {
    const Meaning meaning = meaning_of(call);
    if (meaning.does != Does::kOther) return futex(call, meaning, CW_SITE);
  }
  return forward(call);
}
