// Flows of control that are kept apart, and interruptions: hard and soft interrupts of a model of a machine.
//
//   kernel::update_cxt();                              // a work item, a request begins
//   kernel::hardirq_enter(); ... kernel::irq_exit();
//   kernel::hardirqs_off(); ... kernel::hardirqs_on(); // these calls nest not: on is on
//
// A soft interrupt comes where hard ones may come, and no other interruption runs. Each thread begins with both enabled.
#pragma once

#include <cstdint>

namespace causeway::dept::kernel {

inline constexpr uint8_t kHardirq = 0, kSoftirq = 1;

void update_cxt();
void hardirq_enter();
void softirq_enter();
void irq_exit();
void hardirqs_on();
void hardirqs_off();
void softirqs_on();
void softirqs_off();
// Inside the scheduler: sleeps there are not what a wake-up from there depends on.
void sched_enter();
void sched_exit();
// Off for this thread; they nest.
void dept_off();
void dept_on();
// Panic: everything stops at once and for good.
void stop_emerg();

}  // namespace causeway::dept::kernel
