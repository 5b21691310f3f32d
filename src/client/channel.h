// A client's end of a channel to the kernel (server/wire.h): one call at a time, by one thread. libc only.
//
//   Channel channel;
//   if (channel.connect("causeway/1000/default/client") == 0) {
//     int64_t result = channel.ioctl(cookie, command, argument, window, host);
//     if (result == kLost) ...               // nobody has seen the call: connect again and repeat it
//   }
//
// The program around us may close our socket, or put another file under its number: before the number is used,
// the socket's cookie is compared.
#pragma once

#include <errno.h>

#include <cstddef>
#include <cstdint>

#include "client/host.h"
#include "server/wire.h"

namespace causeway::client {

// SO_COOKIE of a socket; 0: not a socket.
uint64_t cookie_of(int fd);
// Whether `fd` is the client's end of a file of the kernel whose client socket is `socket_name`.
bool is_file_of(int fd, const char* socket_name);

// The channel is gone, and no kernel that lives has seen the call: connect again and repeat it.
inline constexpr int64_t kLost = INT64_MIN;

// The first bytes at an ioctl's argument, sent along with the call.
struct Window {
  const void* bytes = nullptr;
  size_t size = 0;
  bool writable = false;  // the program's memory there is this process's, and cannot fault
};

class Channel {
 public:
  // 0, or a negative errno: -ECONNREFUSED no kernel there, -EPROTO another version.
  int connect(const char* socket_name);
  bool connected() const { return page_ != nullptr; }
  void close();
  // After fork(): lets go of the parent's channel without disturbing it. Async-signal-safe.
  void forget();

  // Results as the system call's: a value or a negative errno; -ENODEV: the program closed our socket in the middle.
  int64_t ioctl(uint64_t cookie, uint32_t command, uint64_t argument, const Window& window, const Host& host);
  // A descriptor of the program, close-on-exec. -ENOENT: not served.
  int64_t open(const char* path, int flags, const Host& host);
  int64_t stat(const char* path, wire::StatResult* result, const Host& host);
  // A descriptor of the filter of frozen files, close-on-exec (file/frozen_filter.h).
  int64_t frozen_filter(const Host& host);
  // 1: the size of this file may not change now; 0: it may.
  int64_t is_frozen(uint64_t device, uint64_t inode, const Host& host);

 private:
  static constexpr int kNoNumber = -2;
  int connect_once(const char* socket_name);
  void keep(int fd);  // what came with kDescriptor; -1: nothing, for want of a number
  // kDied: the program closed the channel in the middle.
  static constexpr int64_t kDied = INT64_MIN + 1;
  int64_t call(const wire::Message& request, const void* payload, const Host& host);
  // The same for calls that may be made again: what the dead kernel made of it died with it.
  int64_t call_again(const wire::Message& request, const void* payload, const Host& host);
  int64_t answer(const Host& host);  // of the kernel's question in the page
  bool pass();                       // false: the kernel has closed the channel
  bool wait();
  bool socket_is_ours() const;
  bool receive_signal();

  int socket_ = -1;
  uint64_t cookie_ = 0;  // of our own socket
  wire::Page* page_ = nullptr;
  wire::SpinBudget budget_;
  int pending_fd_ = -1;  // received, not yet asked for; kNoNumber: one came for which no number was left
};

// Makes a call on `channel`, and again on a new connection where it was lost: the kernel may have been replaced. `ready()`
// connects it if need be: 0, or the negative errno that is the result then. -ENODEV: lost again and again.
template <typename Ready, typename Call>
int64_t call_on(Channel& channel, Ready ready, Call call) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (int64_t error = ready(); error != 0) return error;
    int64_t result = call(channel);
    if (result != kLost) return result;
    channel.close();
  }
  return -ENODEV;
}

}  // namespace causeway::client
