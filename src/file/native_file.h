// A file of the host that a client passed in: a memfd, a pipe, /dev/null. Causeway does not implement it, it
// holds a descriptor of the same open file description.
//
//   auto file = CW_TRY(NativeFile::wrap(std::move(received)));
//   if (file->is_memory()) adopt(file->fd(), file->size());
//
// Two descriptors of one host file give two NativeFiles; identity() tells that they are the same inode.
#pragma once

#include <compare>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"
#include "file/file.h"

namespace causeway::file {

// Which inode: the same for every descriptor of a file, however it was opened.
struct Identity {
  uint64_t device = 0;
  uint64_t inode = 0;
  auto operator<=>(const Identity&) const = default;
};

class NativeFile : public File {
 public:
  // EBADF: not a usable descriptor, or O_PATH.
  static Result<std::shared_ptr<NativeFile>> wrap(UniqueFd fd);
  explicit NativeFile(UniqueFd fd, Identity identity, bool memory);

  int fd() const { return fd_.get(); }
  Identity identity() const { return identity_; }
  // Anonymous shared memory: a file of tmpfs whose inode has no link (memfd, O_TMPFILE, unlinked); not hugetlb.
  bool is_memory() const { return memory_; }
  Result<uint64_t> size() const;  // bytes, now

  std::string link_text() const override;  // as /proc shows it

 private:
  UniqueFd fd_;
  Identity identity_;
  bool memory_;
};

}  // namespace causeway::file
