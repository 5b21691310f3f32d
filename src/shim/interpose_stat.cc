// stat(2) and access(2) of served paths: programs look whether a device is there before they open it.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/stat.h"
#include "shim/real.h"
#include "shim/served.h"

using namespace causeway::shim;

namespace {

template <typename Stat>
int fill(const char* path, Stat* result) {
  causeway::wire::StatResult found{};
  if (stat_served(path, &found) != 0) return -1;
  causeway::client::fill_stat(found, result);
  return 0;
}

int check_access(const char* path, int mode) {
  causeway::wire::StatResult found{};
  if (stat_served(path, &found) != 0) return -1;
  if ((mode & X_OK) == 0) return 0;
  errno = EACCES;
  return -1;
}

using Stat = int(const char*, struct stat*);
using Stat64 = int(const char*, struct stat64*);
using StatAt = int(int, const char*, struct stat*, int);
using StatAt64 = int(int, const char*, struct stat64*, int);
using XStat = int(int, const char*, struct stat*);
using XStat64 = int(int, const char*, struct stat64*);
using XStatAt = int(int, int, const char*, struct stat*, int);
using XStatAt64 = int(int, int, const char*, struct stat64*, int);
using Statx = int(int, const char*, int, unsigned, struct statx*);
using Access = int(const char*, int);
using AccessAt = int(int, const char*, int, int);

}  // namespace

#define CW_STAT(name, Type, buffer)                                                    \
  CW_INTERPOSE int name(const char* path, struct buffer* result) {                     \
    return is_served(path) ? fill(path, result) : CW_NEXT(name, Type)(path, result);   \
  }
#define CW_STATAT(name, Type, buffer)                                                              \
  CW_INTERPOSE int name(int directory, const char* path, struct buffer* result, int flags) {       \
    return is_served(path) ? fill(path, result) : CW_NEXT(name, Type)(directory, path, result, flags); \
  }
// What programs call that were built against a glibc before 2.33.
#define CW_XSTAT(name, Type, buffer)                                                            \
  CW_INTERPOSE int name(int version, const char* path, struct buffer* result) {                 \
    return is_served(path) ? fill(path, result) : CW_NEXT(name, Type)(version, path, result);   \
  }
#define CW_XSTATAT(name, Type, buffer)                                                                      \
  CW_INTERPOSE int name(int version, int directory, const char* path, struct buffer* result, int flags) {   \
    return is_served(path) ? fill(path, result) : CW_NEXT(name, Type)(version, directory, path, result, flags); \
  }

CW_STAT(stat, Stat, stat)
CW_STAT(lstat, Stat, stat)
CW_STAT(stat64, Stat64, stat64)
CW_STAT(lstat64, Stat64, stat64)
CW_STATAT(fstatat, StatAt, stat)
CW_STATAT(fstatat64, StatAt64, stat64)
CW_XSTAT(__xstat, XStat, stat)
CW_XSTAT(__lxstat, XStat, stat)
CW_XSTAT(__xstat64, XStat64, stat64)
CW_XSTAT(__lxstat64, XStat64, stat64)
CW_XSTATAT(__fxstatat, XStatAt, stat)
CW_XSTATAT(__fxstatat64, XStatAt64, stat64)

CW_INTERPOSE int statx(int directory, const char* path, int flags, unsigned mask, struct statx* result) {
  if (!is_served(path)) return CW_NEXT(statx, Statx)(directory, path, flags, mask, result);
  causeway::wire::StatResult found{};
  if (stat_served(path, &found) != 0) return -1;
  causeway::client::fill_statx(found, result);
  return 0;
}

CW_INTERPOSE int access(const char* path, int mode) {
  return is_served(path) ? check_access(path, mode) : CW_NEXT(access, Access)(path, mode);
}
CW_INTERPOSE int euidaccess(const char* path, int mode) {
  return is_served(path) ? check_access(path, mode) : CW_NEXT(euidaccess, Access)(path, mode);
}
CW_INTERPOSE int faccessat(int directory, const char* path, int mode, int flags) {
  return is_served(path) ? check_access(path, mode) : CW_NEXT(faccessat, AccessAt)(directory, path, mode, flags);
}
