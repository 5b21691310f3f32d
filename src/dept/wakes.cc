// Who ends a sleep: which classes of sleepers a wake is for, and what it depends on.
#include <utility>

#include "dept/known_wakes.h"
#include "dept/sleeps.h"

namespace causeway::dept::sleeps {
namespace {

// Stands for the classes of sleepers that are yet to come.
constexpr ClassId kLater = ClassId(0xffffffff);

// A class of sleepers that a wake may be for.
struct Asked {
  ClassId cls;
  uint32_t wgen;   // of the oldest; 0: none sleeps now
  StackId stack;
  bool loops;
};
constexpr unsigned kAsked = Waiters::kHistory * 2;

unsigned who_asked(Waiters::List& list, const Settings& settings, Asked* asked, uint32_t* history) {
  unsigned count = 0;
  EngineLockGuard hold(list.lock);
  for (const Sleep* sleep = list.first; sleep != nullptr; sleep = sleep->next) {
    if (sleep->timed && !settings.timeouts) continue;
    unsigned i = 0;
    while (i < count && asked[i].cls != sleep->cls) ++i;
    if (i == count && count < kAsked) asked[count++] = {sleep->cls, sleep->wgen, sleep->stack, sleep->loops};
  }
  *history = list.history_count.load(std::memory_order_relaxed);
  return count;
}

void mark_woken(Waiters::List& list, Wakes who) {
  EngineLockGuard hold(list.lock);
  for (Sleep* sleep = list.first; sleep != nullptr; sleep = sleep->next) {
    if (sleep->is_woken) continue;
    sleep->is_woken = true;
    if (who == Wakes::kOne) return;
  }
}

unsigned who_slept(Waiters::List& list, Asked* asked, unsigned count) {
  EngineLockGuard hold(list.lock);
  const uint32_t total = list.history_count.load(std::memory_order_relaxed);
  const uint32_t past = total < Waiters::kHistory ? total : Waiters::kHistory;
  for (uint32_t j = 0; j < past && count < kAsked; ++j) {
    unsigned i = 0;
    while (i < count && asked[i].cls != list.history[j]) ++i;
    if (i == count) asked[count++] = {list.history[j], 0, StackId::kNone, false};
  }
  return count;
}

// For the first sleeper of the class, and for a few more if all are woken, to confirm or to refuse.
void make_pending(Tracker& tracker, Waiters::List& list, ClassId cls, ClassId to, const Witness& witness, Wakes who) {
  Waiters& waiters = tracker.waiters();
  unsigned left = who == Wakes::kAll ? 4 : 1;
  EngineLockGuard hold(list.lock);
  for (Sleep* sleep = list.first; sleep != nullptr && left != 0; sleep = sleep->next) {
    if (sleep->cls != cls || !sleep->loops) continue;
    const uint32_t index = waiters.take_node();
    if (index == 0) return;
    Waiters::Node& pending = waiters.node(index);
    pending.from = cls;
    pending.to = to;
    pending.mutex = sleep->released;
    pending.witness = witness;
    pending.next = sleep->pending;
    sleep->pending = index;
    --left;
  }
}

void keep_for_later(Tracker& tracker, Waiters::List& list, ClassId to, const Witness& witness) {
  Waiters& waiters = tracker.waiters();
  EngineLockGuard hold(list.lock);
  if (list.past_count == Waiters::kPastEdges) return;
  for (uint32_t i = list.past; i != 0; i = waiters.node(i).next) {
    if (waiters.node(i).to == to && waiters.node(i).witness.hash == witness.hash) return;
  }
  const uint32_t index = waiters.take_node();
  if (index == 0) return;
  Waiters::Node& past = waiters.node(index);
  past.from = kLater;
  past.to = to;
  past.witness = witness;
  past.next = list.past;
  list.past = index;
  ++list.past_count;
}

}  // namespace

// What this wake would be for those who are not asleep now, but were or will be: only what is new since the same thread, holding the same,
// did this before.
static void wake_unasked(Tracker& tracker, ThreadContext* self, Waiters::List& list, ObjectId object, LazyStack& stack, Asked* asked,
                         unsigned asked_now, uint32_t history, uint32_t flags) {
  SeenByWake& seen = seen_place(self, object);
  const SeenByWake now = seen_now(self, object, history, flags);
  if (seen == now) return;
  SeenByWake before = seen;
  before.news = now.news;
  const uint32_t born_after = before == now ? seen.news : self->news + (1u << 31) + 1;  // all
  const unsigned count = who_slept(list, asked, asked_now);
  for (unsigned i = 0; i < count; ++i) {
    tracker.depend_in_window(self, {.cls = asked[i].cls, .object = object, .wgen = asked[i].wgen, .stack = stack,
                                    .requested_at = asked[i].stack, .flags = flags, .part = Tracker::WindowOf::Part::kPredicted,
                                    .born_after = born_after});
  }
  tracker.each_in_window(self, {.cls = kLater, .object = object, .stack = stack, .flags = flags,
                                .part = Tracker::WindowOf::Part::kPredicted, .born_after = born_after},
                         [&](ClassId to, const Witness& witness, uint64_t key) {
                           keep_for_later(tracker, list, to, witness);
                           tracker.remember(self, key);
                         });
  // What somebody asked for was left out above, and may be looked at again when nobody does.
  if (asked_now == 0 && self->scheduler == 0) seen = now;
}

void wake(ObjectId object, Site site, Wakes who, uint32_t flags) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone || self->task_off != 0) return;
  Inside inside;
  Tracker& tracker = Tracker::get();
  tracker.make_noise(self);
  tracker.drop_given_up(self);
  tracker.count_often(self->events, Counter::kEventsSeen);
  if (const uint32_t known = std::exchange(self->known_wakes, 0)) {
    tracker.arena().count(Counter::kEventsSeen, known);
    tracker.arena().count(Counter::kEventsNobodyAsked, known);
  }
  if (self->generation != tracker.graph().generation()) tracker.refresh_salt(self);
  Object& target = tracker.arena().at<Object>(object);
  if ((target.flags.load(std::memory_order_relaxed) & Object::kNoCheck) != 0) return;
  LazyStack stack(site, __builtin_return_address(0));
  const bool has_waited = self->ring_next != self->context_start;
  Waiters::List* list = tracker.waiters().find(target);
  if (list == nullptr && has_waited && tracker.settings().predict) list = tracker.waiters().find_or_make(target);
  const bool anybody = list != nullptr && list->first.load(std::memory_order_acquire) != nullptr;
  if (list != nullptr && has_waited) {
    Asked asked[kAsked];
    uint32_t history = list->history_count.load(std::memory_order_relaxed);
    const unsigned count = anybody ? who_asked(*list, tracker.settings(), asked, &history) : 0;
    for (unsigned i = 0; i < count; ++i) {
      const Asked& one = asked[i];
      const Tracker::WindowOf window{.cls = one.cls, .object = object, .wgen = one.wgen, .stack = stack, .requested_at = one.stack,
                                     .flags = flags, .part = Tracker::WindowOf::Part::kAsked};
      if (!one.loops) {
        tracker.depend_in_window(self, window);
        continue;
      }
      tracker.each_in_window(self, window, [&](ClassId to, const Witness& witness, uint64_t) {
        make_pending(tracker, *list, one.cls, to, witness, who);
      });
    }
    if (count == 0) tracker.count_often(self->events_unasked, Counter::kEventsNobodyAsked);
    if (tracker.settings().predict) wake_unasked(tracker, self, *list, object, stack, asked, count, history, flags);
  }
  if (anybody) mark_woken(*list, who);
  // Nothing stays of a wake that nobody sleeps for, except where it is counted or written.
  const bool is_lost = !anybody && (target.kind == Kind::kCondVar || target.kind == Kind::kFutex || target.kind == Kind::kWaitQueue);
  if (!is_lost) tracker.order().release(*self, object);
}

}  // namespace causeway::dept::sleeps
