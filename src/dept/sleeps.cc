#include "dept/sleeps.h"

#include "dept/class_choice.h"
#include "dept/dependencies.h"
#include "dept/thread_end.h"
#include "dept/waiters.h"

namespace causeway::dept::sleeps {
namespace {

constexpr EventMask kAny = 7;
constexpr unsigned kSiteFrames = 3;

struct Place {
  ClassId cls;
  StackId stack;
};

// A thread ends once, and what is posted or written serves whoever takes it first: where that is waited for makes no difference.
bool is_one_event(const Object& object) {
  return object.kind == Kind::kThread || object.kind == Kind::kSemaphore || object.kind == Kind::kFile;
}

// Of all else the place, and what called it, under the object's class: helpers that wait for many things are not one thing.
Place new_place_of_sleep(Tracker& tracker, ObjectId object, LazyStack& stack, Site site, const Frame* frames, unsigned depth) {
  const Object& target = tracker.arena().at<Object>(object);
  const uint64_t key = mix(target.key, class_choice::key_of_frames(frames, depth, tracker.arena()));
  // Its stack is unwound to the end once, before there is a class to keep it by.
  const auto unborn = ClassId(static_cast<uint32_t>(key) | 1u << 31);
  Place place{ClassId::kNone, tracker.know_site(unborn, site, stack)};
  if (is_one_event(target)) {
    place.cls = tracker.class_of(object, Event::kWrite);
    return place;
  }
  const ClassDescription description{.kind = target.kind, .name = target.name, .site = place.stack,
                                     .flags = uint32_t{Class::kBySite} | uint32_t{target.class_flags}};
  place.cls = tracker.graph().class_of(key, target.sub, description);
  return place;
}

// A thread knows the places where it has slept: a few frames of rules that are known are all it costs.
Place place_of_sleep(Tracker& tracker, ThreadContext* self, ObjectId object, LazyStack& stack, Site site) {
  Frame frames[kSiteFrames];
  const unsigned depth = stack.frames(tracker.arena(), frames, kSiteFrames);
  uint64_t key = seed_of(object, tracker.arena().at<Object>(object).generation.load(std::memory_order_relaxed));
  for (unsigned i = 0; i < depth; ++i) key = mix(key, frames[i].raw());
  KnownSleep& known = self->known_sleeps[key % kKnownSleeps];
  if (known.key != key) {
    const Place place = new_place_of_sleep(tracker, object, stack, site, frames, depth);
    if (place.cls == ClassId::kNone) return place;
    known = {key, place.cls, place.stack};
  }
  return {known.cls, known.stack};
}

// It is not held while the thread sleeps. What it was held with comes back at the end.
void give_up_mutex(Tracker& tracker, ThreadContext* self, Sleep& sleep, LazyStack& stack) {
  Held* held = tracker.find_held(self, sleep.released, kAny);
  if (held == nullptr) return;
  if (held->depth > 1) {
    // A condition gives up one level only; the waker may need the rest.
    tracker.report(Problem::kMisuse, Misuse::kRecursiveWait, Level::kLikely, self, sleep.released, stack, StackId::kNone);
    return;
  }
  sleep.mutex = *held;
  sleep.was_held = true;
  tracker.drop(self, static_cast<uint32_t>(held - self->held_list()));
}

void take_mutex_back(Tracker& tracker, ThreadContext* self, Sleep& sleep, Site site) {
  if (!sleep.was_held) return;
  const Held& held = sleep.mutex;
  LazyStack stack(Site{held.site, held.line}, sleep.stack);
  if (sleep.stack == StackId::kNone) stack = LazyStack(site, nullptr);
  const EventMask events = held.event == Event::kRead ? bit(Event::kWrite) : bit(held.event);
  for (unsigned i = 0; i < kEvents; ++i) {
    const auto event = static_cast<Event>(i);
    if ((events & bit(event)) != 0)
      tracker.add_wait(self, {.cls = tracker.class_of(held.object, event), .object = held.object, .event = event, .stack = stack,
                              .nesting = held.nesting});
  }
  if (!tracker.push(self, held.object, held.event, held.cls, Site{held.site, held.line}, held.flags, held.nesting, tracker.now()))
    return;
  self->held_list()[self->held() - 1].stack = held.stack;
}

// Past wakers, whose contexts were not asked by this class yet.
void predict(Tracker& tracker, Waiters::List& list, ClassId cls) {
  Waiters& waiters = tracker.waiters();
  Waiters::Node past[Waiters::kPastEdges];
  unsigned count = 0;
  {
    EngineLockGuard hold(list.lock);
    for (uint32_t i = list.past; i != 0 && count < Waiters::kPastEdges; i = waiters.node(i).next) past[count++] = waiters.node(i);
  }
  for (unsigned i = 0; i < count; ++i) {
    if (past[i].to != cls && tracker.graph().wants(cls, past[i].to, past[i].witness))
      tracker.depend(cls, past[i].to, past[i].witness);
  }
}

// True: this class never slept there before.
bool add_to_history(Waiters::List& list, ClassId cls) {
  const uint32_t total = list.history_count.load(std::memory_order_relaxed);
  const uint32_t count = total < Waiters::kHistory ? total : Waiters::kHistory;
  for (uint32_t i = 0; i < count; ++i) {
    if (list.history[i] == cls) return false;
  }
  list.history[total % Waiters::kHistory] = cls;
  list.history_count.store(total + 1, std::memory_order_release);
  return true;
}

void link(Tracker& tracker, ThreadContext* self, Sleep& sleep, LazyStack& stack) {
  Object& object = tracker.arena().at<Object>(sleep.object);
  Waiters::List* list = tracker.waiters().find_or_make(object);
  if (list == nullptr) return;
  bool is_new = false;
  bool two_mutexes = false;
  {
    EngineLockGuard hold(list->lock);
    is_new = add_to_history(*list, sleep.cls);
    sleep.next = nullptr;
    sleep.previous = list->last;
    sleep.linked = true;
    if (list->last == nullptr) {
      list->first.store(&sleep, std::memory_order_release);
    } else {
      list->last->next = &sleep;
      two_mutexes = !list->told_mutexes && list->last->released != sleep.released && sleep.released != ObjectId::kNone &&
                    list->last->released != ObjectId::kNone;
      list->told_mutexes |= two_mutexes;
    }
    list->last = &sleep;
  }
  if (two_mutexes)
    tracker.report(Problem::kMisuse, Misuse::kTwoMutexes, Level::kInfo, self, sleep.object, stack, StackId::kNone);
  if (is_new && tracker.settings().predict) predict(tracker, *list, sleep.cls);
}

// It did not sleep this time; wakes of before and of later are for it all the same.
void might_sleep(Tracker& tracker, Object& object, ClassId cls) {
  Waiters::List* list = tracker.settings().predict ? tracker.waiters().find_or_make(object) : nullptr;
  if (list == nullptr) return;
  bool is_new = false;
  {
    EngineLockGuard hold(list->lock);
    is_new = add_to_history(*list, cls);
  }
  if (is_new) predict(tracker, *list, cls);
}

void unlink(Tracker& tracker, Sleep& sleep) {
  Waiters::List* list = tracker.waiters().find(tracker.arena().at<Object>(sleep.object));
  if (list == nullptr) return;
  EngineLockGuard hold(list->lock);
  sleep.linked = false;
  if (list->last == nullptr) return;  // a fork has emptied it
  if (sleep.previous != nullptr) sleep.previous->next = sleep.next;
  else list->first.store(sleep.next, std::memory_order_relaxed);
  if (sleep.next != nullptr) sleep.next->previous = sleep.previous;
  else list->last = sleep.previous;
}

}  // namespace

void begin(Sleep& sleep, ObjectId object, Site site, const How& how) {
  sleep = {};
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone || self->task_off != 0) return;
  Inside inside;
  Tracker& tracker = Tracker::get();
  tracker.drop_given_up(self);
  tracker.count_often(self->waits, Counter::kWaits);
  LazyStack stack(site, __builtin_return_address(0));
  Object& target = tracker.arena().at<Object>(object);
  if ((target.flags.load(std::memory_order_relaxed) & Object::kNoCheck) != 0) return;
  sleep.object = object;
  sleep.thread = self->thread;
  sleep.released = how.released;
  sleep.timed = how.timed;
  sleep.loops = how.loops;
  sleep.dequeues = how.dequeues;
  const Place place = place_of_sleep(tracker, self, object, stack, site);
  sleep.cls = place.cls;
  sleep.stack = place.stack;
  if (sleep.cls == ClassId::kNone) return;
  sleep.tracked = true;
  if (self->pending != 0) {
    tracker.waiters().refuse(tracker, self, object, sleep.cls);
  }
  stack = LazyStack(site, sleep.stack);
  if (how.released != ObjectId::kNone) give_up_mutex(tracker, self, sleep, stack);
  tracker.add_wait(self, {.cls = sleep.cls, .object = object, .stack = stack, .timed = how.timed,
                          .flags = how.flags | (how.predicted ? uint32_t{Witness::kPredicted} : 0)});
  if (how.predicted) {
    might_sleep(tracker, target, sleep.cls);
    return;
  }
  sleep.wgen = tracker.request(self, target.wgen);
  if (target.kind == Kind::kThread) thread_end::joining(tracker, object, stack);
  begin_waiting(self, object, sleep.cls, bit(Event::kWrite), site, how.timed);
  self->state->waiting_stack.store(index_of(sleep.stack), std::memory_order_relaxed);
  self->state->waiting_partner.store(index_of(how.released), std::memory_order_relaxed);
  link(tracker, self, sleep, stack);
}

void end(Sleep& sleep, Outcome outcome, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (!sleep.tracked || self == nullptr) return;
  Inside inside;
  Tracker& tracker = Tracker::get();
  Waiters& waiters = tracker.waiters();
  sleep.tracked = false;
  end_waiting(self);
  self->state->waiting_stack.store(0, std::memory_order_relaxed);
  self->state->waiting_partner.store(0, std::memory_order_relaxed);
  if (sleep.linked) unlink(tracker, sleep);
  const bool is_woken = outcome == Outcome::kWoken;
  if (is_woken) tracker.order().acquire(*self, sleep.object);
  take_mutex_back(tracker, self, sleep, site);
  while (sleep.pending != 0) {
    const uint32_t index = sleep.pending;
    Waiters::Node& pending = waiters.node(index);
    sleep.pending = pending.next;
    if (is_woken) {
      pending.next = self->pending;
      self->pending = index;
    } else {
      waiters.give_node(index);
    }
  }
  if (!is_woken) return;
  const Kind kind = tracker.arena().at<Object>(sleep.object).kind;
  if (sleep.dequeues && kind != Kind::kBarrier && kind != Kind::kThread && kind != Kind::kOnce && kind != Kind::kStaticInit)
    maybe_new_context(self, sleep.released);
}

void maybe_new_context(ThreadContext* self, ObjectId except) {
  if (self == nullptr) return;
  for (uint32_t i = self->first_held(); i < self->held(); ++i) {
    const Held& held = self->held_list()[i];
    if (held.object != except && (held.flags & (Held::kTentative | Held::kIgnored)) == 0) return;
  }
  Tracker::get().new_context(self);
}

}  // namespace causeway::dept::sleeps
