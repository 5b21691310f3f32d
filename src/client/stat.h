// A served path as stat(2) and statx(2) show it.
//
//   struct stat info;
//   fill_stat(found, &info);           // struct stat, struct stat64
#pragma once

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "server/wire.h"

namespace causeway::client {

template <typename Stat>
void fill_stat(const wire::StatResult& found, Stat* result) {
  memset(result, 0, sizeof *result);
  result->st_mode = found.mode;
  result->st_nlink = 1;
  result->st_rdev = makedev(found.major, found.minor);
  result->st_blksize = 4096;
}

inline void fill_statx(const wire::StatResult& found, struct statx* result) {
  memset(result, 0, sizeof *result);
  result->stx_mask = STATX_TYPE | STATX_MODE | STATX_NLINK;
  result->stx_mode = static_cast<unsigned short>(found.mode);
  result->stx_nlink = 1;
  result->stx_rdev_major = found.major;
  result->stx_rdev_minor = found.minor;
  result->stx_blksize = 4096;
}

}  // namespace causeway::client
