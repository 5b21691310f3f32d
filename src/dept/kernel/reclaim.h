// Memory reclaim as a lock: whoever allocates may come to reclaim, and whoever reclaims must not wait for what an allocation holds.
//
//   kernel::reclaim_enter(kernel::kMayFs, site);       // reclaim begins: takes the pseudo-lock
//   kernel::might_alloc(kernel::kMayFs, site);         // an allocation that may come to reclaim: takes it and lets go
//   kernel::ReclaimScope no_fs;                        // allocations of this thread do not reach file systems
#pragma once

#include "dept/site.h"

namespace causeway::dept::kernel {

enum AllocFlags : unsigned { kMayReclaim = 1, kMayFs = 3 };

void reclaim_enter(AllocFlags flags, Site site);
void reclaim_exit(AllocFlags flags, Site site);
void might_alloc(AllocFlags flags, Site site);

class ReclaimScope {
 public:
  ReclaimScope();
  ~ReclaimScope();
  ReclaimScope(const ReclaimScope&) = delete;
  ReclaimScope& operator=(const ReclaimScope&) = delete;
};

}  // namespace causeway::dept::kernel
