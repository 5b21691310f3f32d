// Which paths and which descriptors are the kernel's to answer for.
#pragma once

#include <cstdint>

#include "client/channel.h"

namespace causeway::shim {

// Whether the kernel serves `path` (absolute; "//" and "/./" are seen through). False also if this program is no client.
bool is_served(const char* path);

// SO_COOKIE of `fd` if it is a descriptor of one of the kernel's files, else 0. errno is untouched.
uint64_t served_file(int fd);

// open(2) of a served path: the descriptor, or -1 and errno.
int open_served(const char* path, int flags);

// ioctl(2) on the served file `cookie`.
int ioctl_served(uint64_t cookie, unsigned long request, uint64_t argument);

// 0 and *result, or -1 and errno.
int stat_served(const char* path, wire::StatResult* result);

}  // namespace causeway::shim
