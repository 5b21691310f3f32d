// Another process's memory, or one's own, touched without ever faulting.
//
//   int64_t got = copy_memory(SYS_process_vm_readv, pid, address, buffer, size);     // of the bytes from `address` on
//
// How many bytes were copied before the first page that cannot be reached so; negative errors are 0 bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "client/raw.h"

namespace causeway::client {

inline constexpr uint64_t kPage = 4096;

// `number`: SYS_process_vm_readv or SYS_process_vm_writev. `process`: a process or thread id.
inline int64_t copy_memory(long number, long process, uint64_t address, void* local, size_t size) {
  size_t done = 0;
  while (done < size) {
    // Two pages a call, apart from each other: a fault in the second leaves the first.
    size_t first = kPage - (address + done) % kPage;
    if (first > size - done) first = size - done;
    size_t second = size - done - first < kPage ? size - done - first : kPage;
    iovec here{static_cast<char*>(local) + done, first + second};
    iovec there[2] = {{reinterpret_cast<void*>(address + done), first},
                      {reinterpret_cast<void*>(address + done + first), second}};
    long got = raw(number, process, &here, 1L, there, second != 0 ? 2L : 1L, 0L);
    if (got > 0) done += static_cast<size_t>(got);
    if (got != static_cast<long>(first + second)) break;
  }
  return static_cast<int64_t>(done);
}

}  // namespace causeway::client
