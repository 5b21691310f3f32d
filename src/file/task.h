// The client on whose behalf a call is carried out (`current`): its memory and its descriptor table.
//
//   Result<int64_t> Device::ioctl(Task& task, uint32_t command, UserAddr argument) {
//     Request request;
//     CW_TRY(task.read(argument, &request));                       // EFAULT
//     FileRef file = CW_TRY(task.get_file(request.fd));            // EBADF
//     request.fd = CW_TRY(task.install_fd(std::make_shared<Session>(...)));
//     if (Status written = task.write(argument, request); !written) { task.uninstall_fd(request.fd); ... }
//
// Between processes every one of these is a message to the client and back, so callers read once and write
// once. A Task is used by one thread, and only during the call it was made for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/result.h"
#include "base/types.h"
#include "file/file.h"

namespace causeway::file {

class Task {
 public:
  virtual ~Task() = default;

  // EFAULT: not all of the range is mapped so; then an unknown part of it has been copied.
  virtual Status copy_from_user(std::span<std::byte> to, UserAddr from) = 0;
  virtual Status copy_to_user(UserAddr to, std::span<const std::byte> from) = 0;

  // The open file behind the client's descriptor: one of ours, or a NativeFile. EBADF: not open, or O_PATH.
  virtual Result<FileRef> get_file(int fd) = 0;
  // Whether install_fd() would find a free descriptor, as far as can be told without asking the client: for steps
  // that are not to be taken if it would not. EMFILE, ENFILE.
  virtual Status expect_fd() { return {}; }
  // A new close-on-exec descriptor of the client for `file`; it holds a reference. EMFILE, ENFILE, ENOMEM.
  virtual Result<int> install_fd(FileRef file) = 0;
  // Takes back what install_fd() made in the same call, because a later step failed.
  virtual void uninstall_fd(int fd) = 0;

  template <typename T>
  Status read(UserAddr from, T* value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return copy_from_user(std::as_writable_bytes(std::span(value, 1)), from);
  }
  template <typename T>
  Status write(UserAddr to, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return copy_to_user(to, std::as_bytes(std::span(&value, 1)));
  }
};

}  // namespace causeway::file
