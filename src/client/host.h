// What a call does to the program it is made for: its memory and its descriptors. The shim's host is its own
// process, the supervisor's is another one.
//
// Plain functions, because this is linked into strangers' processes with libc alone. Every one returns a value
// that is not negative, or a negative errno.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::client {

struct Host {
  void* self;
  // `size` bytes of the program's memory. Returns how many are there from `address` on.
  int64_t (*copy_in)(void* self, uint64_t address, void* to, size_t size);
  // All of them, or -EFAULT.
  int64_t (*copy_out)(void* self, uint64_t address, const void* from, size_t size);
  // A descriptor of *this* process for the program's `fd`; `release` gives it back. -EBADF.
  int64_t (*take_fd)(void* self, int fd);
  void (*release_fd)(void* self, int taken);
  // Makes `received` (this process's, close-on-exec) a descriptor of the program, and owns it: its number there.
  int64_t (*give_fd)(void* self, int received);
  void (*close_fd)(void* self, int fd);
};

}  // namespace causeway::client
