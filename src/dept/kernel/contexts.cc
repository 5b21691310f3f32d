#include "dept/kernel/contexts.h"

#include <iterator>

#include "dept/kernel/thread.h"
#include "dept/kernel/wait_context.h"

namespace causeway::dept::kernel {
namespace {

void announce() {
  if (Within self; self) self.tracker().irqs_enabled(self.context(), enabled_interruptions());
}

void irq_enter(uint8_t kind) {
  PerThread& thread = per_thread();
  if (thread.interruptions == std::size(thread.interruption)) return;
  thread.interruption[thread.interruptions++] = {kind, thread.hard_off, thread.soft_off};
  thread.hard_off = thread.soft_off = false;
  if (Within self; self) self.tracker().irq_enter(self.context(), kind);
  announce();
}

}  // namespace

void update_cxt() {
  if (Within self; self) self.tracker().new_context(self.context());
}

void hardirq_enter() { irq_enter(kHardirq); }
void softirq_enter() { irq_enter(kSoftirq); }

void irq_exit() {
  PerThread& thread = per_thread();
  if (thread.interruptions == 0) return;
  const PerThread::Interruption ended = thread.interruption[--thread.interruptions];
  thread.hard_off = ended.hard_off;
  thread.soft_off = ended.soft_off;
  if (Within self; self) self.tracker().irq_exit(self.context());
  announce();
}

void hardirqs_on() {
  per_thread().hard_off = false;
  announce();
}
void hardirqs_off() {
  per_thread().hard_off = true;
  announce();
}
void softirqs_on() {
  per_thread().soft_off = false;
  announce();
}
void softirqs_off() {
  per_thread().soft_off = true;
  announce();
}

void sched_enter() {
  if (Within self; self) self.tracker().in_scheduler(self.context(), true);
}
void sched_exit() {
  if (Within self; self) self.tracker().in_scheduler(self.context(), false);
}

void dept_off() { ++per_thread().off; }
void dept_on() {
  if (per_thread().off != 0) --per_thread().off;
}

void stop_emerg() { Tracker::stop("panic"); }

void context_enter(WaitType inner) {
  PerThread& thread = per_thread();
  if (thread.allowed_count < std::size(thread.allowed)) thread.allowed[thread.allowed_count++] = {ObjectId::kNone, inner};
}

void context_exit() {
  PerThread& thread = per_thread();
  for (unsigned i = thread.allowed_count; i-- > 0;) {
    if (thread.allowed[i].object != ObjectId::kNone) continue;
    for (unsigned k = i + 1; k < thread.allowed_count; ++k) thread.allowed[k - 1] = thread.allowed[k];
    --thread.allowed_count;
    return;
  }
}

}  // namespace causeway::dept::kernel
