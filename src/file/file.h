// An open file description, as the subsystems see one (struct file): what a descriptor of a client, or a
// subsystem that keeps the file in use, refers to.
//
//   class Counter : public File {
//    public:
//     Result<int64_t> ioctl(Task& task, uint32_t command, UserAddr argument) override;
//     ~Counter() override;                    // release(): the last descriptor and the last user are gone
//   };
//   FileRef file = std::make_shared<Counter>();
//
// A FileRef counts as a reference does in the kernel: the client's descriptors together hold one (dup, fork and
// SCM_RIGHTS share it), everybody who keeps the file holds another. The destructor is the release operation; it
// runs on the thread that drops the last reference, so it may be that of any client.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace causeway::file {

class Task;

class File : public std::enable_shared_from_this<File> {
 public:
  File() = default;
  virtual ~File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // What ioctl(2) returns: a value that is not negative, or an error. ENOTTY: the file has no ioctls.
  // Several threads may be in it at once.
  virtual Result<int64_t> ioctl(Task& task, uint32_t command, UserAddr argument);
  // What /proc/PID/fd shows: "anon_inode:[luo_session] vm0".
  virtual std::string link_text() const = 0;
};

using FileRef = std::shared_ptr<File>;

}  // namespace causeway::file
