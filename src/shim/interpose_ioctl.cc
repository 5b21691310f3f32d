// ioctl(2), and syscall(2) for programs that use the C library only to make system calls.
#include <errno.h>
#include <fcntl.h>
#include <asm/ioctls.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim/frozen.h"
#include "shim/real.h"
#include "shim/seccomp_check.h"
#include "shim/served.h"

using namespace causeway::shim;

namespace {

using Ioctl = int(int, unsigned long, void*);
using Syscall = long(long, long, long, long, long, long, long);

// Not those that no driver ever sees, because the VFS carries them out; nor KVM_RUN and its kind, the one kind of ioctl
// where a look at the descriptor would be felt.
constexpr unsigned kKvmType = 0xae;
bool may_be_served(unsigned long request) {
  switch (request) {
    case FIOCLEX:
    case FIONCLEX:
    case FIONBIO:
    case FIOASYNC: return false;
    default: return (request >> 8 & 0xff) != kKvmType;
  }
}

}  // namespace

CW_INTERPOSE int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (may_be_served(request)) {
    if (uint64_t cookie = served_file(fd)) return ioctl_served(cookie, request, reinterpret_cast<uint64_t>(argument));
  }
  return CW_NEXT(ioctl, Ioctl)(fd, request, argument);
}

CW_INTERPOSE long syscall(long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  long a = va_arg(arguments, long), b = va_arg(arguments, long), c = va_arg(arguments, long);
  long d = va_arg(arguments, long), e = va_arg(arguments, long), f = va_arg(arguments, long);
  va_end(arguments);
  switch (number) {
    case SYS_ioctl:
      if (may_be_served(static_cast<unsigned long>(b))) {
        if (uint64_t cookie = served_file(static_cast<int>(a)))
          return ioctl_served(cookie, static_cast<unsigned long>(b), static_cast<uint64_t>(c));
      }
      break;
    case SYS_openat:
      if (is_served(reinterpret_cast<const char*>(b)))
        return open_served(reinterpret_cast<const char*>(b), static_cast<int>(c));
      break;
#ifdef SYS_open
    case SYS_open:
      if (is_served(reinterpret_cast<const char*>(a)))
        return open_served(reinterpret_cast<const char*>(a), static_cast<int>(b));
      break;
#endif
    case SYS_ftruncate:
      if (!nothing_is_frozen() && resize_refused(static_cast<int>(a), b)) return errno = EPERM, -1;
      break;
    case SYS_fallocate:
      if (!nothing_is_frozen() && fallocate_refused(static_cast<int>(a), static_cast<int>(b), c, d))
        return errno = EPERM, -1;
      break;
    case SYS_seccomp: check_seccomp_call(a, reinterpret_cast<const void*>(c)); break;
    default: break;
  }
  return CW_NEXT(syscall, Syscall)(number, a, b, c, d, e, f);
}
