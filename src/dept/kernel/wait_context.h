// What may block where: a sleeping lock under a spinning one, a spinning one where nothing may spin. The rule lockdep calls wait types.
//
//   kernel::map_set_wait_type(map, WaitType::kSpin, WaitType::kSpin);   // a spin lock: allows spin locks under it
//   kernel::context_enter(WaitType::kRaw);                              // an interrupt that is no thread
//   kernel::context_exit();
//
// Misuse::kWrongContext, reported once for each place. A map without a type is not looked at.
//
//   lock           outer     inner          context                        allows
//   RCU            kNone     kSpin          hard, soft interrupt           kSpin
//   raw spin       kRaw      kRaw           hard interrupt, no thread      kRaw
//   spin           kSpin     kSpin
//   mutex          kSleep    kSleep
#pragma once

#include "dept/kernel/map.h"

namespace causeway::dept::kernel {

// A context that allows waits up to `inner`.
void context_enter(WaitType inner);
void context_exit();

}  // namespace causeway::dept::kernel
