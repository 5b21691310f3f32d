#include "cli/dump_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace causeway::cli {

Result<DumpFile> DumpFile::create(const std::string& path, std::string* reason) {
  // Whoever has the old file open keeps it; O_EXCL: no link of that name is followed.
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISREG(status.st_mode)) {
      *reason = fmt::format("'{}' exists and is no regular file: choose another name", path);
      return fail(EEXIST, "the name of the dump is taken");
    }
    ::unlink(path.c_str());
  }
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) {
    *reason = fmt::format("cannot create '{}': {}", path, std::strerror(errno));
    return fail_with_errno("the file of the dump cannot be created");
  }
  return DumpFile(path, std::move(fd));
}

DumpFile::~DumpFile() {
  if (fd_) ::unlink(path_.c_str());
}

}  // namespace causeway::cli
