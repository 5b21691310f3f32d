#include "interpose/lock_calls.h"

#include "dept/unwind.h"

namespace causeway::interpose {

void end_slowly(const void* address, const ObjectTraits& traits, Mode mode, Site site, int result) {
  const KeepErrno errno_is_kept;
  const ObjectId object = Tracker::get().object_at(address, traits, site);
  if (is_taken(result)) dept::locks::acquired(object, mode, site, {});
  else dept::locks::not_acquired(object);
}

void end_try(const void* address, const ObjectTraits& traits, Mode mode, Site site, int result) {
  if (result == 0 && dept::locks::hold_renewed_try<true>(address, mode, site)) return;
  const KeepErrno errno_is_kept;
  const ObjectId object = Tracker::get().object_at(address, traits, site);
  if (is_taken(result)) dept::locks::acquired(object, mode, site, {.is_try = true});
  else if (result == EBUSY) dept::locks::try_failed(object, mode, site);
}

void release(const void* address, const ObjectTraits& traits, Site site) {
  const KeepErrno errno_is_kept;
  dept::locks::releasing_at(address, traits, site);
}

void refused(ObjectId object, dept::Misuse misuse, Site site) {
  if (!Tracker::is_on()) return;
  const KeepErrno errno_is_kept;
  dept::ThreadContext* self = dept::ThreadContext::current();
  if (self == nullptr) return;
  Tracker& tracker = Tracker::get();
  dept::Frame frames[dept::kStackDepth];
  unsigned depth = dept::unwind(frames, dept::kStackDepth, 1);
  if (depth == 0) frames[depth++] = dept::Frame::pc(site.where);
  tracker.graph().report(dept::Problem::kMisuse, misuse, dept::Level::kInfo, self->thread, object,
                         tracker.arena().intern(frames, depth), dept::StackId::kNone);
}

}  // namespace causeway::interpose
