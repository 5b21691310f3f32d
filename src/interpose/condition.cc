#include "interpose/condition.h"

#include "interpose/here.h"

namespace causeway::interpose::condition {

using namespace causeway::dept;

namespace {

constexpr ObjectTraits kTraits{.kind = Kind::kCondVar};

// Object::value of a condition: how many wait that no wake was meant for yet.
std::atomic<uint32_t>& unwoken(ObjectId cond) { return Tracker::get().arena().at<Object>(cond).value; }

void fewer_wait(ObjectId cond, sleeps::Wakes who) {
  std::atomic<uint32_t>& count = unwoken(cond);
  uint32_t old = count.load(std::memory_order_relaxed);
  while (old != 0 && !count.compare_exchange_weak(old, who == sleeps::Wakes::kAll ? 0 : old - 1, std::memory_order_relaxed)) {
  }
}

}  // namespace

void born(const void* cond, Site site) {
  const KeepErrno errno_is_kept;
  Tracker::get().object_born(cond, kTraits, site);
}

void wake_slowly(const void* cond, Site site, sleeps::Wakes who) {
  if (!tracked()) return;
  const KeepErrno errno_is_kept;
  const ObjectId object = Tracker::get().object_at(cond, kTraits, site);
  if (object == ObjectId::kNone) return;
  fewer_wait(object, who);
  sleeps::wake(object, site, who);
}

void begin(Wait& wait, const void* cond, const void* mutex, Site site, Limit limit) {
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  wait.cond = tracker.object_at(cond, kTraits, site);
  if (wait.cond == ObjectId::kNone) return;
  unwoken(wait.cond).fetch_add(1, std::memory_order_relaxed);
  wait.slot = sleeping::begin(wait.cond, site,
                              {.timed = limit == Limit::kTimed, .released = tracker.find_object(mutex), .loops = true});
}

void end(Wait& wait, sleeps::Outcome outcome) {
  if (wait.cond == ObjectId::kNone) return;
  const KeepErrno errno_is_kept;
  if (outcome != sleeps::Outcome::kWoken) fewer_wait(wait.cond, sleeps::Wakes::kOne);
  sleeping::end(wait.slot, outcome);
}

void cancelled(void* wait) { end(*static_cast<Wait*>(wait), sleeps::Outcome::kInterrupted); }

void begin_destroy(Wait& wait, const void* cond, Site site) {
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  const ObjectId object = tracker.find_object(cond);
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone || unwoken(object).load(std::memory_order_relaxed) == 0) return;
  tracker.graph().report(Problem::kMisuse, Misuse::kDestroyWaited, Level::kLikely, self->thread, object, stack_at(site),
                         StackId::kNone);
  wait.cond = object;
  wait.slot = sleeping::begin(object, site, {});
}

void end_destroy(Wait& wait, const void* cond, bool destroyed) {
  const KeepErrno errno_is_kept;
  sleeping::end(wait.slot, sleeps::Outcome::kWoken);
  if (destroyed) Tracker::get().object_died(cond);
}

}  // namespace causeway::interpose::condition
