#include "shim/frozen.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "client/raw.h"
#include "shim/own_process.h"
#include "shim/real.h"
#include "shim/thread_channel.h"

namespace causeway::shim {

using client::raw;
using file::FrozenFilter;
using file::kFrozenFilterBytes;

constinit std::atomic<const FrozenFilter*> frozen_filter{nullptr};

namespace {

constexpr uint64_t kPage = 4096;
// What one system call writes at most.
constexpr size_t kMaxWrite = 0x7ffff000;
constexpr int kWriteAppend = 0x10;  // RWF_APPEND

struct FrozenFile {
  uint64_t device;
  uint64_t inode;
  uint64_t size;  // bytes
  int flags;      // of the open file
};

// Whether `fd` is open for writing on a file that may be frozen.
bool find_frozen(int fd, FrozenFile* file) {
  struct stat info;
  // By the system call: what is preloaded beside us may have an opinion about fstat().
  if (raw(SYS_newfstatat, fd, "", &info, AT_EMPTY_PATH) != 0) return false;
  if (!S_ISREG(info.st_mode) || info.st_nlink != 0) return false;
  const FrozenFilter* filter = frozen_filter.load(std::memory_order_acquire);
  if (filter == nullptr || filter->excludes(info.st_dev, info.st_ino)) return false;
  long flags = raw(SYS_fcntl, fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) return false;
  *file = {info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size), static_cast<int>(flags)};
  return true;
}

// The kernel's word; false if there is no kernel.
bool is_frozen(const FrozenFile& file) {
  const int saved = errno;
  int64_t answer;
  {
    ThreadChannel thread;
    answer = thread.with(
        [&](client::Channel& channel) { return channel.is_frozen(file.device, file.inode, own_process()); });
  }
  errno = saved;
  return answer == 1;
}

}  // namespace

bool resize_refused(int fd, int64_t size) {
  FrozenFile file;
  if (size < 0 || !find_frozen(fd, &file)) return false;
  return static_cast<uint64_t>(size) != file.size && is_frozen(file);
}

bool fallocate_refused(int fd, int mode, int64_t offset, int64_t length) {
  // What the host refuses for another reason comes first.
  if (offset < 0 || length <= 0 || (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) != 0) return false;
  FrozenFile file;
  return find_frozen(fd, &file) && is_frozen(file);
}

Allowed write_allowed(int fd, int64_t offset, size_t size, int flags) {
  const Allowed all{false, size};
  FrozenFile file;
  if (size == 0 || !find_frozen(fd, &file)) return all;
  int64_t at = offset;
  if ((file.flags & O_APPEND) != 0 || (flags & kWriteAppend) != 0) {
    at = static_cast<int64_t>(file.size);
  } else if (offset == kAtPosition) {
    at = raw(SYS_lseek, fd, 0, SEEK_CUR);
  }
  if (at < 0) return all;
  const auto begin = static_cast<uint64_t>(at);
  const uint64_t bytes = size < kMaxWrite ? size : kMaxWrite;
  if (begin <= file.size && bytes <= file.size - begin) return all;
  if (!is_frozen(file)) return all;
  // Written page by page, up to the first one that would move the end.
  const uint64_t last = file.size - file.size % kPage;
  return begin < last ? Allowed{false, static_cast<size_t>(last - begin)} : Allowed{true, 0};
}

void map_frozen_filter(client::Channel& channel) {
  int64_t fd = channel.frozen_filter(own_process());
  if (fd < 0) return;
  const FrozenFilter* at = frozen_filter.load(std::memory_order_acquire);
  // In one step over an earlier kernel's, which other threads may be reading.
  long mapped = raw(SYS_mmap, at, kFrozenFilterBytes, PROT_READ, at != nullptr ? MAP_SHARED | MAP_FIXED : MAP_SHARED, fd, 0);
  raw(SYS_close, fd);
  if ((mapped < 0 && mapped > -4096) || at != nullptr) return;
  if (!frozen_filter.compare_exchange_strong(at, reinterpret_cast<const FrozenFilter*>(mapped)))
    raw(SYS_munmap, mapped, kFrozenFilterBytes);
}

}  // namespace causeway::shim
