#include "dept/kernel/thread.h"

#include <algorithm>

#include "dept/kernel/contexts.h"

namespace causeway::dept::kernel {

PerThread& per_thread() {
  static thread_local constinit PerThread instance{};
  return instance;
}

IrqMask enabled_interruptions() {
  const PerThread& thread = per_thread();
  bool hard = !thread.hard_off;
  bool soft = !thread.soft_off;
  for (unsigned i = 0; i < thread.interruptions; ++i) {
    soft = false;
    if (thread.interruption[i].kind == kHardirq) hard = false;
  }
  if (!hard) return 0;
  return IrqMask{1} << kHardirq | (soft ? IrqMask{1} << kSoftirq : 0);
}

Within::Within() : context_(per_thread().off == 0 ? ThreadContext::current() : nullptr) {
  if (context_ == nullptr || per_thread().announced) return;
  per_thread().announced = true;
  tracker().irqs_enabled(context_, enabled_interruptions());
}

StackId Within::stack_of(Site site) const {
  if (site.where == 0) return StackId::kNone;
  Inside inside;
  return LazyStack(site, __builtin_return_address(0)).id(tracker().arena());
}

void Within::misuse(Misuse misuse, Level level, ObjectId object, Site site) const {
  Inside inside;
  LazyStack stack(site, __builtin_return_address(0));
  tracker().report(Problem::kMisuse, misuse, level, context_, object, stack, StackId::kNone);
}

void check_wait_type(const Within& self, const Map& map, Site site) {
  if (map.outer == WaitType::kUnchecked) return;
  WaitType allowed = WaitType::kSleep;
  const PerThread& thread = per_thread();
  for (unsigned i = 0; i < thread.allowed_count; ++i) allowed = std::min(allowed, thread.allowed[i].inner);
  if (map.outer > allowed) self.misuse(Misuse::kWrongContext, Level::kLikely, map.object, site);
}

void push_allowed(const Map& map) {
  PerThread& thread = per_thread();
  if (map.inner == WaitType::kUnchecked || thread.allowed_count == std::size(thread.allowed)) return;
  thread.allowed[thread.allowed_count++] = {map.object, map.inner};
}

void pop_allowed(const Map& map) {
  PerThread& thread = per_thread();
  if (map.inner == WaitType::kUnchecked) return;
  for (unsigned i = thread.allowed_count; i-- > 0;) {
    if (thread.allowed[i].object != map.object) continue;
    std::copy(thread.allowed + i + 1, thread.allowed + thread.allowed_count, thread.allowed + i);
    --thread.allowed_count;
    return;
  }
}

}  // namespace causeway::dept::kernel
