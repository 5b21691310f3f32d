#include "interpose/semaphore_role.h"

#include "dept/locks.h"
#include "interpose/bootstrap.h"
#include "interpose/pools.h"

namespace causeway::interpose::semaphore {

using namespace causeway::dept;

namespace {

constexpr uint32_t kTentativeLock = Witness::kTentative;
constexpr uint32_t kTentativePool = Witness::kTentative | Witness::kPool;

Object& record(ObjectId object) { return Tracker::get().arena().at<Object>(object); }

Role role_of(const Object& object) {
  if (object.flags.load(std::memory_order_relaxed) & Object::kSignalLike) return Role::kSignal;
  const uint32_t first = object.value.load(std::memory_order_relaxed);
  return first == 1 ? Role::kLock : first > 1 ? Role::kPool : Role::kSignal;
}

void set_first_value(ObjectId object, uint32_t value) {
  if (object == ObjectId::kNone) return;
  record(object).value.store(value, std::memory_order_relaxed);
  if (value == 0) record(object).flags.fetch_or(Object::kSignalLike, std::memory_order_relaxed);
}

int value_of(sem_t* sem) {
  int value = 0;
  sem_getvalue(sem, &value);
  return value;
}

ObjectId known(sem_t* sem, Site site) {
  const ObjectId object = Tracker::get().object_at(sem, {.kind = Kind::kSemaphore}, site);
  if (object == ObjectId::kNone) return object;
  const Object& there = record(object);
  // Its beginning was not seen: what it is now tells as much.
  if (there.value.load(std::memory_order_relaxed) == 0 && (there.flags.load(std::memory_order_relaxed) & Object::kSignalLike) == 0) {
    const int value = value_of(sem);
    set_first_value(object, value > 0 ? static_cast<uint32_t>(value) : 0);
  }
  return object;
}

// Who did not take it gives it back, or who has it takes it again: no lock does that.
void is_a_signal(ObjectId object) {
  record(object).flags.fetch_or(Object::kSignalLike, std::memory_order_relaxed);
  Graph& graph = Tracker::get().graph();
  graph.void_tentative(object);
  graph.forget_known();  // nobody takes it the short way any more
}

uint64_t hash_of(const char* name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (; *name != '\0'; ++name) hash = (hash ^ static_cast<uint8_t>(*name)) * 0x100000001b3;
  return hash;
}

unsigned units_held(const ThreadContext& self, ObjectId object) {
  unsigned units = 0;
  for (uint32_t i = self.held(); i-- != 0;)
    if (self.state->held_list[i].object == object) ++units;
  return units;
}

void took(ThreadContext* self, ObjectId object, Role role, Site site, locks::How how) {
  Tracker& tracker = Tracker::get();
  if (role == Role::kLock) {
    how.flags |= kTentativeLock;
    locks::acquired(object, locks::Mode::kWrite, site, how);
  } else if (role == Role::kPool) {
    tracker.enter(self, object, Event::kWrite, site, Held::kTentative, 0);
  } else {
    tracker.order().acquire(*self, object);
  }
}

}  // namespace

void born(const sem_t* sem, unsigned value, const char* name, Site site) {
  const KeepErrno errno_is_kept;
  set_first_value(Tracker::get().object_born(sem, {.kind = Kind::kSemaphore, .name = name}, site), value);
}

void opened(sem_t* sem, const char* name, Site site) {
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  if (tracker.find_object(sem) != ObjectId::kNone) return;
  const ObjectId object = tracker.object_at(sem, {.kind = Kind::kSemaphore, .key = hash_of(name), .name = name}, site);
  set_first_value(object, static_cast<uint32_t>(value_of(sem)));
}

void died(const sem_t* sem) {
  const KeepErrno errno_is_kept;
  Tracker::get().object_died(sem);
}

void begin(Taking& taking, sem_t* sem, Site site, bool timed) {
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return;
  taking.object = known(sem, site);
  if (taking.object == ObjectId::kNone) return;
  taking.site = site;
  taking.timed = timed;
  taking.role = role_of(record(taking.object));
  if (taking.role == Role::kLock && tracker.holds(self, taking.object, bit(Event::kWrite))) {
    is_a_signal(taking.object);
    taking.role = Role::kSignal;
  }
  if (taking.role == Role::kLock) {
    locks::acquiring(taking.object, locks::Mode::kWrite, site, {.timed = timed, .flags = kTentativeLock});
  } else if (taking.role == Role::kPool) {
    if (const unsigned held = units_held(*self, taking.object)) pools::wants_more(self, taking.object, held, site);
    tracker.wait(self, taking.object, bit(Event::kWrite), site, {.timed = timed, .flags = kTentativePool});
  } else {
    taking.slot = sleeping::begin(taking.object, site, {.timed = timed, .predicted = value_of(sem) > 0});
  }
}

void end(Taking& taking, sleeps::Outcome outcome) {
  if (taking.object == ObjectId::kNone) return;
  const KeepErrno errno_is_kept;
  if (taking.role == Role::kSignal) {
    sleeping::end(taking.slot, outcome);
    return;
  }
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return;
  if (outcome == sleeps::Outcome::kWoken) {
    took(self, taking.object, taking.role, taking.site, {.timed = taking.timed});
  } else {
    locks::not_acquired(taking.object);
  }
}

void taken_by_try(sem_t* sem, Site site) {
  const KeepErrno errno_is_kept;
  ThreadContext* self = ThreadContext::current();
  const ObjectId object = known(sem, site);
  if (self == nullptr || object == ObjectId::kNone) return;
  took(self, object, role_of(record(object)), site, {.is_try = true});
}

void post(sem_t* sem, Site site) {
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || tracker.find_object(sem) == ObjectId::kNone) return;
  const ObjectId object = known(sem, site);
  Role role = role_of(record(object));
  if (role != Role::kSignal && tracker.holds(self, object, bit(Event::kWrite))) {
    record(object).flags.fetch_or(Object::kLockLike, std::memory_order_relaxed);
    if (role == Role::kLock) {
      locks::releasing(object, site);
    } else {
      tracker.leave(self, object, bit(Event::kWrite));
    }
    return;
  }
  if (role != Role::kSignal) is_a_signal(object);
  else tracker.leave(self, object, bit(Event::kWrite));  // as the lock that it was taken for once
  sleeps::wake(object, site, sleeps::Wakes::kOne);
}

}  // namespace causeway::interpose::semaphore
