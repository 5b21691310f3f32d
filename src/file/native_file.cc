#include "file/native_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <climits>

namespace causeway::file {

Result<std::shared_ptr<NativeFile>> NativeFile::wrap(UniqueFd fd) {
  int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || (flags & O_PATH) != 0) return fail(EBADF, "not an open file");
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return fail_with_errno("cannot stat the file");
  struct statfs system;
  bool memory = S_ISREG(info.st_mode) && info.st_nlink == 0 && ::fstatfs(fd.get(), &system) == 0 &&
                system.f_type == TMPFS_MAGIC;
  return std::make_shared<NativeFile>(std::move(fd), Identity{info.st_dev, info.st_ino}, memory);
}

NativeFile::NativeFile(UniqueFd fd, Identity identity, bool memory)
    : fd_(std::move(fd)), identity_(identity), memory_(memory) {}

Result<uint64_t> NativeFile::size() const {
  struct stat info;
  if (::fstat(fd_.get(), &info) != 0) return fail_with_errno("cannot stat the file");
  return static_cast<uint64_t>(info.st_size);
}

std::string NativeFile::link_text() const {
  char text[PATH_MAX];
  ssize_t length = ::readlink(fmt::format("/proc/self/fd/{}", fd_.get()).c_str(), text, sizeof(text));
  return length > 0 ? std::string(text, static_cast<size_t>(length)) : "?";
}

}  // namespace causeway::file
