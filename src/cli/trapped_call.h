// One trapped system call of a supervised program: decides whether it is about the kernel's devices, and carries it out.
//
//   seccomp_notif_resp answer = TrappedCall(listener, notification, served).carry_out(channel);
#pragma once

#include <linux/seccomp.h>

#include <string>

#include "cli/supervisor.h"
#include "client/channel.h"

namespace causeway::cli {

class TrappedCall {
 public:
  TrappedCall(int listener, const seccomp_notif& call, const Served& served)
      : listener_(listener), call_(call), served_(served) {}

  seccomp_notif_resp carry_out(client::Channel& channel);

 private:
  struct Outcome {
    bool ours = false;  // else the host's kernel carries the call out
    int64_t result = 0;
  };
  Outcome open(client::Channel& channel, uint64_t path, int flags);
  Outcome ioctl(client::Channel& channel);
  Outcome stat(client::Channel& channel, uint64_t path, uint64_t buffer, bool extended);
  Outcome access(client::Channel& channel, uint64_t path, uint64_t mode);
  bool is_served(uint64_t path, std::string* text) const;
  // Of a channel's call, which is made anew once if the kernel was replaced.
  template <typename Call>
  int64_t with(client::Channel& channel, Call call);

  client::Host host();
  int64_t copy(long number, uint64_t address, void* local, size_t size) const;
  int64_t take_fd(int fd) const;
  int64_t give_fd(int received) const;

  const int listener_;
  const seccomp_notif& call_;
  const Served& served_;
  bool close_on_exec_ = true;
};

}  // namespace causeway::cli
