#include "dept/kernel/reclaim.h"

#include "dept/kernel/ldt.h"
#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

constinit Key reclaim_key;
constinit Map reclaim_map{.key = &reclaim_key, .name = "reclaim"};

bool is_tracked(AllocFlags flags) { return flags == kMayFs && per_thread().no_fs == 0; }

}  // namespace

void reclaim_enter(AllocFlags flags, Site site) {
  if (is_tracked(flags)) ldt_lock(reclaim_map, {}, site);
}

void reclaim_exit(AllocFlags flags, Site site) {
  if (is_tracked(flags)) ldt_unlock(reclaim_map, site);
}

void might_alloc(AllocFlags flags, Site site) {
  reclaim_enter(flags, site);
  reclaim_exit(flags, site);
}

ReclaimScope::ReclaimScope() { ++per_thread().no_fs; }
ReclaimScope::~ReclaimScope() { --per_thread().no_fs; }

}  // namespace causeway::dept::kernel
