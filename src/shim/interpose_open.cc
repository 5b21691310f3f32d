// open(2) in all the names that programs link to. A path the kernel serves is opened there; every other call goes on to
// the C library as it came.
#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>

#include "shim/real.h"
#include "shim/served.h"

using namespace causeway::shim;

namespace {

using Open = int(const char*, int, ...);
using OpenAt = int(int, const char*, int, ...);
using OpenChecked = int(const char*, int);
using OpenAtChecked = int(int, const char*, int);

bool has_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

}  // namespace

// `mode`: the variable argument after `flags`, if the flags ask for one.
#define CW_TAKE_MODE(flags)           \
  mode_t mode = 0;                    \
  if (has_mode(flags)) {              \
    va_list arguments;                \
    va_start(arguments, flags);       \
    mode = va_arg(arguments, mode_t); \
    va_end(arguments);                \
  }
#define CW_OPEN(name)                                                 \
  CW_INTERPOSE int name(const char* path, int flags, ...) {           \
    if (is_served(path)) return open_served(path, flags);             \
    CW_TAKE_MODE(flags)                                               \
    return CW_NEXT(name, Open)(path, flags, mode);                    \
  }
#define CW_OPENAT(name)                                               \
  CW_INTERPOSE int name(int directory, const char* path, int flags, ...) { \
    if (is_served(path)) return open_served(path, flags);             \
    CW_TAKE_MODE(flags)                                               \
    return CW_NEXT(name, OpenAt)(directory, path, flags, mode);       \
  }
// What _FORTIFY_SOURCE makes of an open() without O_CREAT.
#define CW_OPEN_CHECKED(name)                                         \
  CW_INTERPOSE int name(const char* path, int flags) {                \
    if (is_served(path)) return open_served(path, flags);             \
    return CW_NEXT(name, OpenChecked)(path, flags);                   \
  }
#define CW_OPENAT_CHECKED(name)                                       \
  CW_INTERPOSE int name(int directory, const char* path, int flags) { \
    if (is_served(path)) return open_served(path, flags);             \
    return CW_NEXT(name, OpenAtChecked)(directory, path, flags);      \
  }

CW_OPEN(open)
CW_OPEN(open64)
CW_OPENAT(openat)
CW_OPENAT(openat64)
CW_OPEN_CHECKED(__open_2)
CW_OPEN_CHECKED(__open64_2)
CW_OPENAT_CHECKED(__openat_2)
CW_OPENAT_CHECKED(__openat64_2)
