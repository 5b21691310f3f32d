// The calling thread's channel to the kernel, made on its first call.
//
//   ThreadChannel use;                         // holds it for the length of one call
//   int64_t result = use.with([&](client::Channel& channel) { return channel.open(path, flags, host); });
//
// A call from a signal handler that interrupts a call of the same thread gets a channel of its own. After fork(),
// the C library's or a bare one, the child lets go of its parent's channels. A channel that is lost before the call began is made anew, once: the kernel may
// have been replaced.
#pragma once

#include "client/channel.h"

namespace causeway::shim {

// The kernel's client socket, from the environment; null: this program is not a client.
const char* socket_name();

class ThreadChannel {
 public:
  ThreadChannel();
  ~ThreadChannel();
  ThreadChannel(const ThreadChannel&) = delete;
  ThreadChannel& operator=(const ThreadChannel&) = delete;

  // -ENODEV: there is no kernel; -EMFILE and the like: no descriptor left for a channel.
  template <typename Call>
  int64_t with(Call call) {
    return client::call_on(*channel_, [this] { return ready(); }, call);
  }

 private:
  int ready();  // 0, or a negative errno

  client::Channel* channel_;
  client::Channel nested_;
  bool is_nested_;
};

}  // namespace causeway::shim
