#include "dept/kernel/stage.h"

#include "dept/engine_lock.h"
#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

// Of every thread's stage: wakers empty it.
constinit EngineLock stage_lock;

ClassId class_of_place(const Within& self, Site site) {
  ClassDescription description;
  description.kind = Kind::kMap;
  description.site = self.stack_of(site);
  description.flags = Class::kBySite;
  // A multiplication keeps lines of one file apart, and from keys, which are addresses.
  const uint64_t key = (site.where + (uint64_t{site.line} << 48)) * 0x9e3779b97f4a7c15 | 1;
  Inside inside;
  return self.graph().class_of(key, 0, description);
}

}  // namespace

void stage_wait(Map* map, Site site, int64_t timeout) {
  if (per_thread().stages++ != 0) return;
  Within self;
  if (!self) return;
  StagedWait next;
  next.is_staged = true;
  next.site = site;
  next.timed = is_timed(timeout);
  if (map != nullptr) {
    next.object = known(*map, site);
    if (next.object == ObjectId::kNone) return;
    next.cls = self.class_of(next.object, Event::kWrite);
  } else {
    next.cls = class_of_place(self, site);
  }
  EngineLockGuard hold(stage_lock);
  self.context()->staged = next;
}

void request_event_wait_commit(Site site) {
  Within self;
  if (!self || !self.context()->staged.is_staged) return;
  std::atomic<uint32_t> wgen{0};
  StagedWait staged;
  {
    EngineLockGuard hold(stage_lock);
    StagedWait& mine = self.context()->staged;
    if (!mine.is_staged) return;
    mine.wgen = self.tracker().request(self.context(), wgen);
    if (mine.first_stack == StackId::kNone) mine.first_stack = self.stack_of(site);
    staged = mine;
  }
  self.tracker().wait_for_class(self.context(), staged.cls, staged.object, staged.site, staged.first_stack,
                                {.timed = staged.timed, .sched_sleep = true});
}

void clean_stage() {
  PerThread& thread = per_thread();
  if (thread.stages == 0 || --thread.stages != 0) return;
  unstage();
}

void unstage() {
  Within self;
  if (!self || !self.context()->staged.is_staged) return;
  EngineLockGuard hold(stage_lock);
  self.context()->staged = StagedWait();
}

void ttwu_stage_wait(ThreadContext& sleeper, Site site) {
  Within self;
  if (!self) return;
  StagedWait staged;
  {
    EngineLockGuard hold(stage_lock);
    staged = sleeper.staged;
    sleeper.staged = StagedWait();
  }
  if (!staged.is_staged || staged.wgen == 0 || per_thread().events_off != 0) return;
  self.tracker().event(self.context(), staged.cls, staged.object, staged.wgen, site, staged.first_stack, 0);
}

}  // namespace causeway::dept::kernel
