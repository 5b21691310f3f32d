#include "client/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/raw.h"

namespace causeway::client {

using wire::Op;

namespace {

struct Address {
  sockaddr_un un;
  socklen_t length;
};

bool make_address(const char* name, Address* address) {
  size_t size = strlen(name);
  if (size == 0 || size > sizeof(address->un.sun_path) - 1) return false;
  memset(&address->un, 0, sizeof address->un);
  address->un.sun_family = AF_UNIX;
  memcpy(address->un.sun_path + 1, name, size);
  address->length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return true;
}

// Out of the way of programs that count on low numbers, or close everything they do not know.
int move_high(int fd) {
  rlimit limit{};
  raw(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit);
  rlim_t start = limit.rlim_cur > 4096 ? 3072 : limit.rlim_cur / 2;
  long high = raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, start);
  if (high < 0) return fd;
  raw(SYS_close, fd);
  return static_cast<int>(high);
}

struct Received {
  long size;
  int fd;  // -1: none
};

Received receive(int socket, void* bytes, size_t size) {
  iovec part{bytes, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  Received result{0, -1};
  do {
    result.size = raw(SYS_recvmsg, socket, &message, MSG_CMSG_CLOEXEC);
  } while (result.size == -EINTR);
  if (result.size < 0) return result;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS && header->cmsg_len >= CMSG_LEN(sizeof(int)))
    memcpy(&result.fd, CMSG_DATA(header), sizeof(int));
  return result;
}

long send(int socket, const void* bytes, size_t size, int fd, int flags) {
  iovec part{const_cast<void*>(bytes), size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  long sent;
  do {
    sent = raw(SYS_sendmsg, socket, &message, MSG_NOSIGNAL | flags);
  } while (sent == -EINTR);
  return sent;
}

}  // namespace

uint64_t cookie_of(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return raw(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

bool is_file_of(int fd, const char* socket_name) {
  sockaddr_un peer;
  socklen_t length = sizeof peer;
  if (raw(SYS_getpeername, fd, &peer, &length) != 0 || peer.sun_family != AF_UNIX) return false;
  size_t prefix = strlen(socket_name);
  size_t size = length - offsetof(sockaddr_un, sun_path);
  // NUL, the socket's name, a slash, a number.
  return size > prefix + 2 && peer.sun_path[0] == '\0' && memcmp(peer.sun_path + 1, socket_name, prefix) == 0 &&
         peer.sun_path[1 + prefix] == '/';
}

int Channel::connect(const char* socket_name) {
  // A kernel that is being replaced drops the connections it has accepted; its successor listens on the same socket.
  constexpr int kAttempts = 4;
  int error = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    error = connect_once(socket_name);
    if (error != -ECONNRESET && error != -EPIPE) break;
  }
  return error;
}

int Channel::connect_once(const char* socket_name) {
  Address address;
  if (!make_address(socket_name, &address)) return -EINVAL;
  long made = raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (made < 0) return static_cast<int>(made);
  int fd = move_high(static_cast<int>(made));
  auto give_up = [&](long error) {
    raw(SYS_close, fd);
    return static_cast<int>(error);
  };
  if (long error = raw(SYS_connect, fd, &address.un, address.length); error < 0) return give_up(error);
  wire::Hello hello;
  if (long sent = send(fd, &hello, sizeof hello, -1, 0); sent < 0) return give_up(sent);
  wire::Welcome welcome;
  Received got = receive(fd, &welcome, sizeof welcome);
  if (got.size != sizeof welcome || welcome.magic != wire::kMagic || welcome.error != 0 || got.fd < 0) {
    if (got.fd >= 0) raw(SYS_close, got.fd);
    if (got.size <= 0) return give_up(got.size == 0 ? -ECONNRESET : got.size);
    // A descriptor is missing when there was no number left for it.
    bool known = got.size == sizeof welcome && welcome.magic == wire::kMagic && welcome.error == 0;
    return give_up(known ? -EMFILE : -EPROTO);
  }
  long mapped = raw(SYS_mmap, nullptr, wire::kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, got.fd, 0);
  raw(SYS_close, got.fd);
  if (mapped < 0 && mapped > -4096) return give_up(mapped);
  socket_ = fd;
  cookie_ = cookie_of(fd);
  page_ = reinterpret_cast<wire::Page*>(mapped);
  budget_ = {};
  return 0;
}

bool Channel::socket_is_ours() const { return cookie_of(socket_) == cookie_; }

void Channel::close() {
  if (page_ == nullptr) return;
  if (socket_is_ours()) raw(SYS_close, socket_);
  forget();
}

void Channel::forget() {
  // libc's, which a sanitizer around us sees: the address may be another thread's channel next.
  if (page_ != nullptr) ::munmap(page_, wire::kPageBytes);
  if (pending_fd_ >= 0) raw(SYS_close, pending_fd_);
  page_ = nullptr;
  socket_ = pending_fd_ = -1;
}

bool Channel::receive_signal() {
  if (!socket_is_ours()) return false;
  wire::Signal signal{};
  Received got = receive(socket_, &signal, sizeof signal);
  if (got.fd >= 0 || (got.size > 0 && signal == wire::Signal::kDescriptor)) keep(got.fd);
  return got.size > 0;
}

void Channel::keep(int fd) {
  if (pending_fd_ >= 0) raw(SYS_close, pending_fd_);
  pending_fd_ = fd >= 0 ? fd : kNoNumber;
}

bool Channel::pass() {
  wire::Turn mine = wire::Turn::kClient;
  if (!page_->turn.compare_exchange_strong(mine, wire::Turn::kKernel, std::memory_order_seq_cst)) return false;
  if (page_->kernel_sleeps.load(std::memory_order_seq_cst) != 0 && socket_is_ours()) {
    wire::Signal wake = wire::Signal::kWake;
    send(socket_, &wake, sizeof wake, -1, MSG_DONTWAIT);
  }
  return true;
}

bool Channel::wait() {
  auto ours = [&] { return page_->turn.load(std::memory_order_seq_cst) != wire::Turn::kKernel; };
  if (!budget_.spin(ours)) {
    page_->client_sleeps.store(1, std::memory_order_seq_cst);
    while (!ours()) {
      if (receive_signal()) continue;
      if (ours()) break;
      return false;
    }
    page_->client_sleeps.store(0, std::memory_order_relaxed);
  }
  return page_->turn.load(std::memory_order_acquire) == wire::Turn::kClient;
}

int64_t Channel::answer(const Host& host) {
  wire::Message& message = page_->message;
  uint32_t length = message.length < wire::kPayload ? message.length : wire::kPayload;
  switch (message.op) {
    case Op::kCopyIn: {
      int64_t got = host.copy_in(host.self, message.address, message.payload, length);
      message.length = got > 0 ? static_cast<uint32_t>(got) : 0;
      return got == static_cast<int64_t>(length) ? 0 : -EFAULT;
    }
    case Op::kCopyOut: return host.copy_out(host.self, message.address, message.payload, length);
    case Op::kTakeFd: {
      int64_t fd = host.take_fd(host.self, static_cast<int>(message.command));
      if (fd < 0) return fd;
      wire::Signal signal = wire::Signal::kDescriptor;
      long sent = socket_is_ours() ? send(socket_, &signal, sizeof signal, static_cast<int>(fd), 0) : -EBADF;
      host.release_fd(host.self, static_cast<int>(fd));
      return sent < 0 ? -EBADF : 0;
    }
    case Op::kGiveFd: {
      // The message is there: it was sent before the turn. One without a descriptor means that there was no
      // number left for it.
      while (pending_fd_ == -1)
        if (!receive_signal()) return -EBADF;
      int received = pending_fd_;
      pending_fd_ = -1;
      return received == kNoNumber ? -EMFILE : host.give_fd(host.self, received);
    }
    case Op::kCloseFd: host.close_fd(host.self, static_cast<int>(message.command)); return 0;
    default: return -EPROTO;
  }
}

int64_t Channel::call(const wire::Message& request, const void* payload, const Host& host) {
  if (page_ == nullptr || page_->turn.load(std::memory_order_acquire) != wire::Turn::kClient) return kLost;
  // The program may have closed it a moment ago: the kernel, which does not know yet, would still carry out the call, but
  // could neither wake us nor send a descriptor.
  if (!socket_is_ours()) return kLost;
  memcpy(&page_->message, &request, wire::kHeader);
  if (request.length != 0) memcpy(page_->message.payload, payload, request.length);
  if (!pass()) return kLost;
  while (wait()) {
    wire::Message& message = page_->message;
    if (message.op == Op::kDone) return message.result;
    int64_t result = answer(host);
    if (message.op != Op::kCopyIn) message.length = 0;
    message.op = Op::kAnswer;
    message.result = result;
    if (!pass()) break;
  }
  // A file is one kernel's: if the next one knows it, the dead one cannot have carried the call out.
  return socket_is_ours() ? kLost : kDied;
}

int64_t Channel::call_again(const wire::Message& request, const void* payload, const Host& host) {
  int64_t result = call(request, payload, host);
  return result == kDied ? kLost : result;
}

int64_t Channel::ioctl(uint64_t cookie, uint32_t command, uint64_t argument, const Window& window, const Host& host) {
  wire::Message request;
  wire::begin(&request, Op::kIoctl, window.size);
  request.flags = window.writable ? wire::kWindowWritable : 0;
  request.cookie = cookie;
  request.command = command;
  request.address = argument;
  int64_t result = call(request, window.bytes, host);
  if (result == kDied) return -ENODEV;
  if (result == kLost || !window.writable) return result;
  uint64_t offset = page_->message.address;
  uint32_t length = page_->message.length;
  if (length != 0 && offset <= window.size && length <= window.size - offset)
    memcpy(reinterpret_cast<char*>(argument) + offset, page_->message.payload, length);
  return result;
}

int64_t Channel::open(const char* path, int flags, const Host& host) {
  wire::Message request;
  wire::begin(&request, Op::kOpen, strnlen(path, wire::kPayload));
  request.flags = static_cast<uint32_t>(flags);
  return call_again(request, path, host);
}

int64_t Channel::stat(const char* path, wire::StatResult* result, const Host& host) {
  wire::Message request;
  wire::begin(&request, Op::kStat, strnlen(path, wire::kPayload));
  int64_t answered = call_again(request, path, host);
  if (answered == 0) memcpy(result, page_->message.payload, sizeof *result);
  return answered;
}

int64_t Channel::frozen_filter(const Host& host) {
  wire::Message request;
  wire::begin(&request, Op::kFrozenFilter, 0);
  return call_again(request, nullptr, host);
}

int64_t Channel::is_frozen(uint64_t device, uint64_t inode, const Host& host) {
  wire::Message request;
  wire::begin(&request, Op::kIsFrozen, 0);
  request.cookie = device;
  request.address = inode;
  return call_again(request, nullptr, host);
}

}  // namespace causeway::client
