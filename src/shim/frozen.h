// Files of this program whose size may not change, because the kernel has them in a session: what Linux does to calls
// that would.
//
//   if (nothing_is_frozen()) return real_write(fd, bytes, size);
//   Allowed allowed = write_allowed(fd, kAtPosition, size, 0);
//   if (allowed.refused) ...                                             // EPERM
//   return real_write(fd, bytes, allowed.size);
//
// A program without a frozen file pays for a load or two. With one, for two system calls a call; the kernel is asked only
// when a call is about to be refused. errno is untouched by all of these.
#pragma once

#include <atomic>
#include <cstdint>

#include "client/channel.h"
#include "file/frozen_filter.h"

namespace causeway::shim {

extern std::atomic<const file::FrozenFilter*> frozen_filter;  // null: no channel has been made yet

inline bool nothing_is_frozen() {
  const file::FrozenFilter* filter = frozen_filter.load(std::memory_order_acquire);
  return filter == nullptr || filter->is_empty();
}

// Whether ftruncate(2) to `size`, and fallocate(2), end with EPERM.
bool resize_refused(int fd, int64_t size);
bool fallocate_refused(int fd, int mode, int64_t offset, int64_t length);

// Of a write of `size` bytes at `offset`, of which the file takes those before the page in which it ends if the write goes
// on beyond the end. `flags`: of pwritev2(2).
struct Allowed {
  bool refused;  // EPERM
  size_t size;   // bytes to write: all, or a part
};
inline constexpr int64_t kAtPosition = -1;
Allowed write_allowed(int fd, int64_t offset, size_t size, int flags);

// Maps the filter of the kernel that `channel` has just been connected to, in place of an earlier one's.
void map_frozen_filter(client::Channel& channel);

}  // namespace causeway::shim
