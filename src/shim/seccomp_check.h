// A VMM's own seccomp filter knows its ioctls, not the calls that replace them here: sooner or later it kills the
// program at one of ours. Before a filter is installed it is run on each system call the shim makes, and those it would
// not let through are named on standard error, with what to do about it. The filter is installed all the same.
#pragma once

#include <linux/filter.h>
#include <stddef.h>

namespace causeway::shim {

// Arguments of seccomp(2): operation and argument.
void check_seccomp_call(long operation, const void* argument);

// What the filter returns for system call `number` with `arguments` (SECCOMP_RET_*). A filter that cannot be run
// (an unknown instruction, no return) counts as one that kills.
unsigned run_filter(const sock_filter* filter, size_t length, int number, const unsigned long long (&arguments)[6]);

}  // namespace causeway::shim
