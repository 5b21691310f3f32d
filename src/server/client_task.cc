#include "server/client_task.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "file/native_file.h"

namespace causeway::server {

using wire::Op;

ClientTask::ClientTask(Channel& channel, OpenFiles& files)
    : channel_(channel),
      files_(files),
      window_at_(channel.received().address),
      window_size_(channel.received().op == Op::kIoctl ? std::min<size_t>(channel.received().length, wire::kWindow) : 0),
      window_writable_((channel.received().flags & wire::kWindowWritable) != 0) {
  std::memcpy(window_, channel.received().payload, window_size_);
  wire::begin(&message_, Op::kNone, 0);
}

bool ClientTask::in_window(UserAddr address, size_t size) const {
  return address >= window_at_ && size <= window_size_ && address.value() - window_at_.value() <= window_size_ - size;
}

Status ClientTask::copy_from_user(std::span<std::byte> to, UserAddr from) {
  if (in_window(from, to.size())) {
    std::memcpy(to.data(), window_ + (from - window_at_), to.size());
    return {};
  }
  while (!to.empty()) {
    size_t size = std::min(to.size(), wire::kPayload);
    message_.op = Op::kCopyIn;
    message_.address = from.value();
    message_.length = static_cast<uint32_t>(size);
    int64_t answer = CW_TRY(channel_.ask(message_));
    if (answer < 0 || channel_.received().length != size) return fail(EFAULT, "the client's memory is not readable");
    std::memcpy(to.data(), channel_.received().payload, size);
    to = to.subspan(size);
    from = UserAddr(from.value() + size);
  }
  return {};
}

Status ClientTask::copy_to_user(UserAddr to, std::span<const std::byte> from) {
  if (window_writable_ && in_window(to, from.size())) {
    size_t begin = to - window_at_;
    std::memcpy(window_ + begin, from.data(), from.size());
    bool first = written_begin_ == written_end_;
    written_begin_ = first ? begin : std::min(written_begin_, begin);
    written_end_ = std::max(written_end_, begin + from.size());
    return {};
  }
  while (!from.empty()) {
    size_t size = std::min(from.size(), wire::kPayload);
    message_.op = Op::kCopyOut;
    message_.address = to.value();
    message_.length = static_cast<uint32_t>(size);
    std::memcpy(message_.payload, from.data(), size);
    if (CW_TRY(channel_.ask(message_)) < 0) return fail(EFAULT, "the client's memory is not writable");
    from = from.subspan(size);
    to = UserAddr(to.value() + size);
  }
  return {};
}

Result<file::FileRef> ClientTask::get_file(int fd) {
  message_.op = Op::kTakeFd;
  message_.command = static_cast<uint32_t>(fd);
  message_.length = 0;
  if (CW_TRY(channel_.ask(message_)) < 0) return fail(EBADF, "the client has no such descriptor");
  UniqueFd received = CW_TRY(channel_.take_fd());
  if (file::FileRef own = files_.find_by_fd(received.get())) return own;
  return file::FileRef(CW_TRY(file::NativeFile::wrap(std::move(received))));
}

Result<int> ClientTask::install_fd(file::FileRef file) {
  UniqueFd end;
  int fd;
  if (auto* native = dynamic_cast<file::NativeFile*>(file.get())) {
    fd = native->fd();
  } else {
    end = CW_TRY(files_.open(std::move(file)));
    fd = end.get();
  }
  CW_TRY(channel_.send_fd(fd));
  message_.op = Op::kGiveFd;
  message_.length = 0;
  int64_t answer = CW_TRY(channel_.ask(message_));
  if (answer >= 0) return static_cast<int>(answer);
  switch (-answer) {
    case ENFILE: return fail(ENFILE, "the client's system has no descriptors left");
    case ENOMEM: return fail(ENOMEM, "the client has no memory for a descriptor");
    default: return fail(EMFILE, "the client has no descriptors left");
  }
}

void ClientTask::uninstall_fd(int fd) {
  message_.op = Op::kCloseFd;
  message_.command = static_cast<uint32_t>(fd);
  message_.length = 0;
  if (!channel_.ask(message_)) log::debug("server", "a client left while a descriptor was taken back");
  files_.reap();
}

wire::Message& ClientTask::done(const Result<int64_t>& result) {
  message_.op = Op::kDone;
  message_.result = result ? *result : result.error().return_value();
  message_.address = written_begin_;
  message_.length = static_cast<uint32_t>(written_end_ - written_begin_);
  std::memcpy(message_.payload, window_ + written_begin_, message_.length);
  return message_;
}

}  // namespace causeway::server
