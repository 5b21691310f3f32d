// The other side of interpose/annotate.h, which programs include by themselves: the names are agreed, the header is not shared, since there they are weak.
#include "dept/sleeps.h"
#include "interpose/bootstrap.h"
#include "interpose/real.h"

using namespace causeway::dept;
using namespace causeway::interpose;

namespace {

uint64_t hash_of(const char* name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (; *name != '\0'; ++name) hash = (hash ^ static_cast<uint8_t>(*name)) * 0x100000001b3;
  return hash;
}

}  // namespace

CW_INTERPOSE void causeway_dept_set_name(const void* object, const char* name) {
  if (!tracked()) return;
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  const ObjectId id = tracker.object_at(object, {.name = name}, CW_SITE);
  if (id != ObjectId::kNone) tracker.arena().at<Object>(id).name = tracker.arena().intern(name);
}

CW_INTERPOSE void causeway_dept_set_class(const void* object, const char* name) {
  if (!tracked()) return;
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  const ObjectId known = tracker.find_object(object);
  ObjectTraits traits{.key = hash_of(name), .name = name};
  if (known != ObjectId::kNone) {
    const Object& old = tracker.arena().at<Object>(known);
    traits.kind = old.kind;
    traits.flags = old.flags.load(std::memory_order_relaxed) & ~uint32_t{Object::kDead};
  }
  tracker.object_born(object, traits, CW_SITE);
}

CW_INTERPOSE void causeway_dept_task() {
  if (!tracked()) return;
  const KeepErrno errno_is_kept;
  if (ThreadContext* self = ThreadContext::current()) Tracker::get().new_context(self);
}

CW_INTERPOSE void causeway_dept_might_wait(const void* object) {
  if (!tracked()) return;
  const KeepErrno errno_is_kept;
  const Site site = CW_SITE;
  sleeps::Sleep sleep;
  sleeps::begin(sleep, Tracker::get().object_at(object, {.kind = Kind::kCompletion}, site), site, {.predicted = true});
  sleeps::end(sleep, sleeps::Outcome::kDidNotSleep, site);
}

CW_INTERPOSE void causeway_dept_event(const void* object) {
  if (!tracked()) return;
  const KeepErrno errno_is_kept;
  const Site site = CW_SITE;
  sleeps::wake(Tracker::get().object_at(object, {.kind = Kind::kCompletion}, site), site, sleeps::Wakes::kAll);
}
