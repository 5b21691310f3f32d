// The kernel's end of the control socket (hw/control.h): one request, one reply, in turn.
//
//   auto answer = CW_TRY(client.call(Op::kGetFd, fd_id));
//   use(answer.fd);
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "hw/control.h"
#include "sync/mutex.h"

namespace causeway::platform {

class ControlClient {
 public:
  explicit ControlClient(UniqueFd socket) : socket_(std::move(socket)) {}

  struct Answer {
    hw::control::Reply reply;
    UniqueFd fd;
  };
  // `fd` is passed along if >= 0. Errors: the machine's, ECONNRESET (it went away or does not answer),
  // EPROTO (it does not speak this protocol).
  Result<Answer> call(hw::control::Op op, uint64_t value = 0, uint64_t argument = 0, int fd = -1);

  // The same for each of `values`: several requests are under way at a time, so that neither side sleeps in between.
  // The answers in order, without descriptors; one may fail and the others succeed.
  std::vector<Status> call_each(hw::control::Op op, std::span<const uint32_t> values);

  int socket() const { return socket_.get(); }
  UniqueFd release() { return std::move(socket_); }  // of no use afterwards

 private:
  Status send(hw::control::Op op, uint64_t value, uint64_t argument, int fd) CW_REQUIRES(mutex_);
  Result<Answer> receive(hw::control::Op op) CW_REQUIRES(mutex_);

  sync::Mutex mutex_{"platform.control"};  // one call at a time
  UniqueFd socket_;
};

}  // namespace causeway::platform
