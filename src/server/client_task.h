// A client program's thread as the subsystems see it: a file::Task over its channel.
//
//   ClientTask task(channel, files);
//   Result<int64_t> result = file->ioctl(task, command, argument);
//   channel.pass(task.done(result));
//
// The bytes at the ioctl's argument came with the call (the window): reading them costs nothing, and what is written
// there goes back with the result if the client said that it cannot fault.
#pragma once

#include "file/task.h"
#include "server/channel.h"
#include "server/open_files.h"

namespace causeway::server {

class ClientTask : public file::Task {
 public:
  // For the call that `channel` has received last.
  ClientTask(Channel& channel, OpenFiles& files);

  Status copy_from_user(std::span<std::byte> to, UserAddr from) override;
  Status copy_to_user(UserAddr to, std::span<const std::byte> from) override;
  Result<file::FileRef> get_file(int fd) override;
  Result<int> install_fd(file::FileRef file) override;
  void uninstall_fd(int fd) override;

  // The call's last message.
  wire::Message& done(const Result<int64_t>& result);

 private:
  bool in_window(UserAddr address, size_t size) const;

  Channel& channel_;
  OpenFiles& files_;
  const UserAddr window_at_;
  const size_t window_size_;
  const bool window_writable_;
  std::byte window_[wire::kWindow];
  size_t written_begin_ = 0;  // part of the window that goes back with the result
  size_t written_end_ = 0;
  wire::Message message_;  // header cleared; payload as far as its length says
};

}  // namespace causeway::server
