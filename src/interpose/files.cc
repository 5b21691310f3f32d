// Reads and writes between threads of one process: of eventfds, pipes and stream socket pairs that it made itself. A read that may block
// waits for data, whose event is the write; a write that does block, because it is full, waits for the read.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "interpose/bootstrap.h"
#include "interpose/channels.h"
#include "interpose/real.h"
#include "interpose/sets.h"
#include "interpose/sleeping.h"

using namespace causeway::dept;
using namespace causeway::interpose;
using channels::Readiness;

extern "C" {
ssize_t __read_chk(int fd, void* buffer, size_t size, size_t room);
ssize_t __recv_chk(int fd, void* buffer, size_t size, size_t room, int flags);
}

CW_DEFINE_REAL(eventfd);
CW_DEFINE_REAL(eventfd_read);
CW_DEFINE_REAL(eventfd_write);
CW_DEFINE_REAL(pipe);
CW_DEFINE_REAL(pipe2);
CW_DEFINE_REAL(socketpair);
CW_DEFINE_REAL(dup);
CW_DEFINE_REAL(dup2);
CW_DEFINE_REAL(dup3);
CW_DEFINE_REAL(fcntl);
CW_DEFINE_REAL(fcntl64);
CW_DEFINE_REAL(close);
CW_DEFINE_REAL(close_range);
CW_DEFINE_REAL(closefrom);
CW_DEFINE_REAL(read);
CW_DEFINE_REAL(readv);
CW_DEFINE_REAL(recv);
CW_DEFINE_REAL(recvmsg);
CW_DEFINE_REAL(write);
CW_DEFINE_REAL(writev);
CW_DEFINE_REAL(send);
CW_DEFINE_REAL(sendmsg);
CW_DEFINE_REAL(__read_chk);
CW_DEFINE_REAL(__recv_chk);

namespace {

constexpr int kOnlyOnExec = 4;  // CLOSE_RANGE_CLOEXEC: younger than some headers

enum class May : uint8_t { kBlock, kNotBlock };
May may_block(int flags) { return (flags & MSG_DONTWAIT) != 0 ? May::kNotBlock : May::kBlock; }

sleeps::Outcome outcome_of(ssize_t result) {
  if (result >= 0) return sleeps::Outcome::kWoken;
  return errno == EINTR ? sleeps::Outcome::kInterrupted : sleeps::Outcome::kDidNotSleep;
}

// Who reads makes room for who writes; nobody looks for that before it has been waited for.
void make_room(int fd, Site site) {
  const ObjectId room = channels::made_room(fd);
  if (room != ObjectId::kNone && Tracker::get().arena().at<Object>(room).waiters.load(std::memory_order_relaxed) != 0)
    sleeps::wake(room, site, sleeps::Wakes::kAll);
}

template <typename Real>
[[gnu::noinline]] ssize_t read_from(int fd, Site site, May may, Real real) {
  sleeping::Slot* slot = nullptr;
  const ObjectId data = channels::incoming(fd);
  const Readiness readiness = may == May::kNotBlock ? Readiness::kNeverBlocks : channels::to_read(fd);
  {
    const KeepErrno errno_is_kept;
    if (readiness != Readiness::kNeverBlocks) slot = sleeping::begin(data, site, {.predicted = readiness == Readiness::kReady});
    if (readiness != Readiness::kWouldBlock) make_room(fd, site);
  }
  const ssize_t result = real();
  const KeepErrno errno_is_kept;
  if (readiness != Readiness::kNeverBlocks) {
    sleeping::end(slot, outcome_of(result));
  } else if (ThreadContext* self = ThreadContext::current(); self != nullptr && result >= 0) {
    Tracker::get().order().acquire(*self, data);
  }
  if (readiness == Readiness::kWouldBlock && result > 0) make_room(fd, site);
  return result;
}

template <typename Real>
[[gnu::noinline]] ssize_t write_to(int fd, size_t size, Site site, May may, Real real) {
  sleeping::Slot* slot = nullptr;
  {
    const KeepErrno errno_is_kept;
    sleeps::wake(channels::outgoing(fd), site, sleeps::Wakes::kOne);
    const ObjectId room = may == May::kBlock ? channels::room(fd) : ObjectId::kNone;
    if (room != ObjectId::kNone && channels::to_write(fd, size) == Readiness::kWouldBlock) slot = sleeping::begin(room, site, {.dequeues = false});
  }
  const ssize_t result = real();
  const KeepErrno errno_is_kept;
  sleeping::end(slot, outcome_of(result));
  return result;
}

size_t size_of(const iovec* parts, int count) {
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  return size;
}

// Whether anybody asks where it goes.
bool is_followed(int fd) { return channels::is_known(fd) || sets::is_followed(fd); }

void duplicated(int from, int to) {
  sets::duplicated(from, to);
  if (tracked()) channels::duplicated(from, to);
}

void forget(int fd) {
  if (__builtin_expect(!is_followed(fd), 1)) return;
  sets::closing(fd);
  if (tracked()) channels::closing(fd);
}

bool is_ours(int fd) { return __builtin_expect(channels::is_known(fd), 0) && tracked(); }

}  // namespace

CW_INTERPOSE int eventfd(unsigned value, int flags) noexcept {
  const int fd = CW_REAL(eventfd)(value, flags);
  if (fd >= 0 && tracked()) channels::made_eventfd(fd, CW_SITE);
  return fd;
}

CW_INTERPOSE int pipe(int fds[2]) noexcept {
  const int result = CW_REAL(pipe)(fds);
  if (result == 0 && tracked()) channels::made_pipe(fds[0], fds[1], CW_SITE);
  return result;
}

CW_INTERPOSE int pipe2(int fds[2], int flags) noexcept {
  const int result = CW_REAL(pipe2)(fds, flags);
  if (result == 0 && tracked()) channels::made_pipe(fds[0], fds[1], CW_SITE);
  return result;
}

CW_INTERPOSE int socketpair(int domain, int type, int protocol, int fds[2]) noexcept {
  const int result = CW_REAL(socketpair)(domain, type, protocol, fds);
  if (result == 0 && (type & 0xff) == SOCK_STREAM && tracked()) channels::made_pair(fds[0], fds[1], CW_SITE);
  return result;
}

CW_INTERPOSE int dup(int fd) noexcept {
  const int result = CW_REAL(dup)(fd);
  if (result >= 0 && is_followed(fd)) duplicated(fd, result);
  return result;
}

CW_INTERPOSE int dup2(int fd, int to) noexcept {
  const int result = CW_REAL(dup2)(fd, to);
  if (result >= 0 && (is_followed(fd) || is_followed(to))) duplicated(fd, to);
  return result;
}

CW_INTERPOSE int dup3(int fd, int to, int flags) noexcept {
  const int result = CW_REAL(dup3)(fd, to, flags);
  if (result >= 0 && (is_followed(fd) || is_followed(to))) duplicated(fd, to);
  return result;
}

// Its argument is an integer or a pointer, or is not there.
#define CW_FCNTL(name)                                                                             \
  CW_INTERPOSE int name(int fd, int command, ...) {                                                \
    va_list more;                                                                                  \
    va_start(more, command);                                                                       \
    const long argument = va_arg(more, long);                                                      \
    va_end(more);                                                                                  \
    const int result = CW_REAL(name)(fd, command, argument);                                       \
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0 && is_followed(fd))      \
      duplicated(fd, result);                                                                      \
    return result;                                                                                 \
  }
CW_FCNTL(fcntl)
CW_FCNTL(fcntl64)

CW_INTERPOSE int close(int fd) {
  forget(fd);
  return CW_REAL(close)(fd);
}

CW_INTERPOSE int close_range(unsigned first, unsigned last, int flags) noexcept {
  if ((flags & kOnlyOnExec) == 0) {
    for (unsigned fd = first; fd <= last && fd < channels::kDescriptors; ++fd) forget(static_cast<int>(fd));
  }
  return CW_REAL(close_range)(first, last, flags);
}

CW_INTERPOSE void closefrom(int first) noexcept {
  for (int fd = first < 0 ? 0 : first; fd < channels::kDescriptors; ++fd) forget(fd);
  CW_REAL(closefrom)(first);
}

CW_INTERPOSE ssize_t read(int fd, void* buffer, size_t size) {
  if (!is_ours(fd)) return CW_REAL(read)(fd, buffer, size);
  return read_from(fd, CW_SITE, May::kBlock, [=] { return CW_REAL(read)(fd, buffer, size); });
}

CW_INTERPOSE ssize_t __read_chk(int fd, void* buffer, size_t size, size_t room) {
  if (!is_ours(fd)) return CW_REAL(__read_chk)(fd, buffer, size, room);
  return read_from(fd, CW_SITE, May::kBlock, [=] { return CW_REAL(__read_chk)(fd, buffer, size, room); });
}

CW_INTERPOSE ssize_t readv(int fd, const iovec* parts, int count) {
  if (!is_ours(fd)) return CW_REAL(readv)(fd, parts, count);
  return read_from(fd, CW_SITE, May::kBlock, [=] { return CW_REAL(readv)(fd, parts, count); });
}

CW_INTERPOSE ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  if (!is_ours(fd)) return CW_REAL(recv)(fd, buffer, size, flags);
  return read_from(fd, CW_SITE, may_block(flags), [=] { return CW_REAL(recv)(fd, buffer, size, flags); });
}

CW_INTERPOSE ssize_t __recv_chk(int fd, void* buffer, size_t size, size_t room, int flags) {
  if (!is_ours(fd)) return CW_REAL(__recv_chk)(fd, buffer, size, room, flags);
  return read_from(fd, CW_SITE, may_block(flags), [=] { return CW_REAL(__recv_chk)(fd, buffer, size, room, flags); });
}

CW_INTERPOSE ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (!is_ours(fd)) return CW_REAL(recvmsg)(fd, message, flags);
  return read_from(fd, CW_SITE, may_block(flags), [=] { return CW_REAL(recvmsg)(fd, message, flags); });
}

CW_INTERPOSE ssize_t write(int fd, const void* bytes, size_t size) {
  if (!is_ours(fd)) return CW_REAL(write)(fd, bytes, size);
  return write_to(fd, size, CW_SITE, May::kBlock, [=] { return CW_REAL(write)(fd, bytes, size); });
}

CW_INTERPOSE ssize_t writev(int fd, const iovec* parts, int count) {
  if (!is_ours(fd)) return CW_REAL(writev)(fd, parts, count);
  return write_to(fd, size_of(parts, count), CW_SITE, May::kBlock, [=] { return CW_REAL(writev)(fd, parts, count); });
}

CW_INTERPOSE ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  if (!is_ours(fd)) return CW_REAL(send)(fd, bytes, size, flags);
  return write_to(fd, size, CW_SITE, may_block(flags), [=] { return CW_REAL(send)(fd, bytes, size, flags); });
}

CW_INTERPOSE ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (!is_ours(fd)) return CW_REAL(sendmsg)(fd, message, flags);
  return write_to(fd, size_of(message->msg_iov, static_cast<int>(message->msg_iovlen)), CW_SITE, may_block(flags),
                  [=] { return CW_REAL(sendmsg)(fd, message, flags); });
}

CW_INTERPOSE int eventfd_read(int fd, eventfd_t* value) {
  if (!is_ours(fd)) return CW_REAL(eventfd_read)(fd, value);
  return static_cast<int>(read_from(fd, CW_SITE, May::kBlock, [=] { return CW_REAL(eventfd_read)(fd, value); }));
}

CW_INTERPOSE int eventfd_write(int fd, eventfd_t value) {
  if (!is_ours(fd)) return CW_REAL(eventfd_write)(fd, value);
  return static_cast<int>(write_to(fd, sizeof value, CW_SITE, May::kBlock, [=] { return CW_REAL(eventfd_write)(fd, value); }));
}
