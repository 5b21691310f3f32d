// What may change a file's size: ftruncate(2), fallocate(2) and the writes. A file that is in a session keeps its size.
//
// Not seen: what the C library writes by itself (stdio), and other ways to write (sendfile, splice, io_uring). The
// kernel looks once more before it hands the file over.
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>

#include "shim/frozen.h"
#include "shim/own_process.h"
#include "shim/real.h"

using namespace causeway::shim;

namespace {

using Truncate = int(int, off_t);
using Allocate = int(int, int, off_t, off_t);
using PosixAllocate = int(int, off_t, off_t);
using Write = ssize_t(int, const void*, size_t);
using WriteAt = ssize_t(int, const void*, size_t, off_t);
using WriteParts = ssize_t(int, const iovec*, int);
using WritePartsAt = ssize_t(int, const iovec*, int, off_t);
using WritePartsFlags = ssize_t(int, const iovec*, int, off_t, int);

template <typename Function>
struct Next {
  const char* name;
  std::atomic<Function*> found{nullptr};
  Function* get() { return find_next(found, name); }
  // write() is called by signal handlers: not for it to go looking.
  void find_early() {
    if (void* function = dlsym(RTLD_NEXT, name)) found.store(reinterpret_cast<Function*>(function));
  }
};
constinit Next<Write> next_write{"write"};
__attribute__((constructor)) void find_early() { next_write.find_early(); }

int refuse() {
  errno = EPERM;
  return -1;
}

// Calls `real` with as many bytes as the file takes.
template <typename Real>
__attribute__((noinline)) ssize_t write_some(int fd, size_t size, int64_t offset, Real real) {
  Allowed allowed = write_allowed(fd, offset, size, 0);
  return allowed.refused ? refuse() : real(allowed.size);
}

// The same of several parts; `parts` may lie anywhere, as far as the caller is concerned.
template <typename Real>
__attribute__((noinline)) ssize_t write_some_parts(int fd, const iovec* parts, int count, int64_t offset, int flags,
                                                   Real real) {
  if (count <= 0 || count > IOV_MAX) return real(parts, count);
  iovec copy[IOV_MAX];
  const size_t bytes = static_cast<size_t>(count) * sizeof(iovec);
  const causeway::client::Host& host = own_process();
  if (host.copy_in(host.self, reinterpret_cast<uint64_t>(parts), copy, bytes) != static_cast<int64_t>(bytes))
    return real(parts, count);
  size_t total = 0;
  for (int i = 0; i < count; ++i) {
    if (copy[i].iov_len > SSIZE_MAX - total) return real(parts, count);  // EINVAL
    total += copy[i].iov_len;
  }
  Allowed allowed = write_allowed(fd, offset, total, flags);
  if (allowed.refused) return refuse();
  if (allowed.size == total) return real(parts, count);
  size_t left = allowed.size;
  int kept = 0;
  for (; left > 0; ++kept) {
    if (copy[kept].iov_len > left) copy[kept].iov_len = left;
    left -= copy[kept].iov_len;
  }
  return real(copy, kept);
}

}  // namespace

#define CW_TRUNCATE(name)                                                          \
  CW_INTERPOSE int name(int fd, off_t size) noexcept {                             \
    if (!nothing_is_frozen() && resize_refused(fd, size)) return refuse();         \
    return CW_NEXT(name, Truncate)(fd, size);                                      \
  }
#define CW_ALLOCATE(name)                                                                        \
  CW_INTERPOSE int name(int fd, int mode, off_t offset, off_t length) {                          \
    if (!nothing_is_frozen() && fallocate_refused(fd, mode, offset, length)) return refuse();    \
    return CW_NEXT(name, Allocate)(fd, mode, offset, length);                                    \
  }
// Returns the error.
#define CW_POSIX_ALLOCATE(name)                                                            \
  CW_INTERPOSE int name(int fd, off_t offset, off_t length) {                              \
    if (!nothing_is_frozen() && fallocate_refused(fd, 0, offset, length)) return EPERM;    \
    return CW_NEXT(name, PosixAllocate)(fd, offset, length);                               \
  }
#define CW_WRITE_AT(name)                                                                               \
  CW_INTERPOSE ssize_t name(int fd, const void* bytes, size_t size, off_t offset) {                     \
    WriteAt* real = CW_NEXT(name, WriteAt);                                                             \
    if (nothing_is_frozen() || offset < 0) return real(fd, bytes, size, offset);                        \
    return write_some(fd, size, offset, [&](size_t part) { return real(fd, bytes, part, offset); });    \
  }
#define CW_WRITE_PARTS_AT(name)                                                                    \
  CW_INTERPOSE ssize_t name(int fd, const iovec* parts, int count, off_t offset) {                 \
    WritePartsAt* real = CW_NEXT(name, WritePartsAt);                                              \
    if (nothing_is_frozen() || offset < 0) return real(fd, parts, count, offset);                  \
    return write_some_parts(fd, parts, count, offset, 0,                                           \
                            [&](const iovec* p, int n) { return real(fd, p, n, offset); });        \
  }
#define CW_WRITE_PARTS_FLAGS(name)                                                                 \
  CW_INTERPOSE ssize_t name(int fd, const iovec* parts, int count, off_t offset, int flags) {      \
    WritePartsFlags* real = CW_NEXT(name, WritePartsFlags);                                        \
    if (nothing_is_frozen() || offset < kAtPosition) return real(fd, parts, count, offset, flags); \
    return write_some_parts(fd, parts, count, offset, flags,                                       \
                            [&](const iovec* p, int n) { return real(fd, p, n, offset, flags); }); \
  }

static_assert(sizeof(off_t) == 8, "the names with and without 64 are the same functions");
CW_TRUNCATE(ftruncate)
CW_TRUNCATE(ftruncate64)
CW_ALLOCATE(fallocate)
CW_ALLOCATE(fallocate64)
CW_POSIX_ALLOCATE(posix_fallocate)
CW_POSIX_ALLOCATE(posix_fallocate64)
CW_WRITE_AT(pwrite)
CW_WRITE_AT(pwrite64)
CW_WRITE_PARTS_AT(pwritev)
CW_WRITE_PARTS_AT(pwritev64)
CW_WRITE_PARTS_FLAGS(pwritev2)
CW_WRITE_PARTS_FLAGS(pwritev64v2)

CW_INTERPOSE ssize_t write(int fd, const void* bytes, size_t size) {
  Write* real = next_write.get();
  if (nothing_is_frozen()) return real(fd, bytes, size);
  return write_some(fd, size, kAtPosition, [&](size_t part) { return real(fd, bytes, part); });
}

CW_INTERPOSE ssize_t writev(int fd, const iovec* parts, int count) {
  WriteParts* real = CW_NEXT(writev, WriteParts);
  if (nothing_is_frozen()) return real(fd, parts, count);
  return write_some_parts(fd, parts, count, kAtPosition, 0, [&](const iovec* p, int n) { return real(fd, p, n); });
}
