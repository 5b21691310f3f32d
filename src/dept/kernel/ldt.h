// Locks: called by the lock itself, before it blocks and before it lets go.
//
//   kernel::ldt_lock(map, {.nesting = 1}, site);      // exclusive; also spin locks
//   kernel::ldt_rlock(map, {}, kernel::Readers::kQueued, site);
//   kernel::ldt_unlock(map, site);
//
//   how                    waits for     then holds
//   ldt_lock               L             L (the vertex of W)
//   ldt_wlock              R and W       W
//   ldt_rlock recursive    W             R
//   ldt_rlock queued       R and W       R
//   is_try                 nothing       the same
//   nest                   nothing       nothing that counts
#pragma once

#include "dept/kernel/raw.h"

namespace causeway::dept::kernel {

struct LockHow {
  uint8_t nesting = 0;        // level of this acquisition: silences edges within the class if it differs
  bool is_try = false;
  const Map* nest = nullptr;  // a lock that is held and serialises all of this class
  bool timed = false;
};
// Whether a reader waits behind a writer that waits.
enum class Readers : uint8_t { kRecursive, kQueued };

// Of a lock that somebody holds: misuse.
void ldt_init(Map& map, const Key* key, uint8_t sub_u, const char* name, Site site);
void ldt_lock(Map& map, const LockHow& how, Site site);
void ldt_wlock(Map& map, const LockHow& how, Site site);
void ldt_rlock(Map& map, const LockHow& how, Readers readers, Site site);
// Of a lock that the caller does not hold: misuse.
void ldt_unlock(Map& map, Site site);
void ldt_downgrade(Map& map, Site site);
// The newest open context of the map, and the map, belong to `key` from now on.
void ldt_set_class(Map& map, const char* name, const Key& key, uint8_t nesting, Site site);

}  // namespace causeway::dept::kernel
