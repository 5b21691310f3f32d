// Waits for any of several: a dependency only if there is one of our own, alone and without a time limit. Otherwise they tell one thing
// alone: who comes back from one holding nothing begins something new.
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "interpose/bootstrap.h"
#include "interpose/channels.h"
#include "interpose/real.h"
#include "interpose/sets.h"
#include "interpose/sleeping.h"

using namespace causeway::dept;
using namespace causeway::interpose;

extern "C" int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size);

CW_DEFINE_REAL(poll);
CW_DEFINE_REAL(__poll_chk);
CW_DEFINE_REAL(ppoll);
CW_DEFINE_REAL(select);
CW_DEFINE_REAL(pselect);
CW_DEFINE_REAL(epoll_wait);
CW_DEFINE_REAL(epoll_pwait);
CW_DEFINE_REAL(epoll_pwait2);

namespace {

// What a call waits for, and a descriptor that is readable once it has come; kNone: several, or a time limit, or strangers'.
struct Only {
  ObjectId data = ObjectId::kNone;
  int fd = -1;
};

Only only_one(const pollfd* fds, nfds_t count, bool timed) {
  if (count != 1 || timed || fds[0].events != POLLIN || !channels::is_known(fds[0].fd)) return {};
  const KeepErrno errno_is_kept;
  return {channels::incoming(fds[0].fd), fds[0].fd};
}

Only only_one(int set, bool timed) {
  if (timed || !sets::is_followed(set)) return {};
  const KeepErrno errno_is_kept;
  return {sets::only_one(set), set};
}

template <typename Real>
int any(const Only& only, Site site, Real real) {
  sleeping::Slot* slot = nullptr;
  if (only.data != ObjectId::kNone) {
    const KeepErrno errno_is_kept;
    slot = sleeping::begin(only.data, site, {.predicted = channels::is_readable(only.fd)});
  }
  const int result = real();
  const KeepErrno errno_is_kept;
  if (only.data != ObjectId::kNone) {
    sleeping::end(slot, result >= 0 ? sleeps::Outcome::kWoken : sleeps::Outcome::kInterrupted);
  } else if (result > 0) {
    sleeps::maybe_new_context(ThreadContext::current(), ObjectId::kNone);
  }
  return result;
}

}  // namespace

CW_INTERPOSE int poll(pollfd* fds, nfds_t count, int timeout) {
  if (!tracked()) return CW_REAL(poll)(fds, count, timeout);
  return any(only_one(fds, count, timeout >= 0), CW_SITE, [=] { return CW_REAL(poll)(fds, count, timeout); });
}

CW_INTERPOSE int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size) {
  if (!tracked()) return CW_REAL(__poll_chk)(fds, count, timeout, size);
  return any(only_one(fds, count, timeout >= 0), CW_SITE, [=] { return CW_REAL(__poll_chk)(fds, count, timeout, size); });
}

CW_INTERPOSE int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  if (!tracked()) return CW_REAL(ppoll)(fds, count, timeout, mask);
  return any(only_one(fds, count, timeout != nullptr || mask != nullptr), CW_SITE,
             [=] { return CW_REAL(ppoll)(fds, count, timeout, mask); });
}

CW_INTERPOSE int select(int count, fd_set* reads, fd_set* writes, fd_set* exceptions, timeval* timeout) {
  if (!tracked()) return CW_REAL(select)(count, reads, writes, exceptions, timeout);
  return any({}, CW_SITE, [=] { return CW_REAL(select)(count, reads, writes, exceptions, timeout); });
}

CW_INTERPOSE int pselect(int count, fd_set* reads, fd_set* writes, fd_set* exceptions, const timespec* timeout,
                         const sigset_t* mask) {
  if (!tracked()) return CW_REAL(pselect)(count, reads, writes, exceptions, timeout, mask);
  return any({}, CW_SITE, [=] { return CW_REAL(pselect)(count, reads, writes, exceptions, timeout, mask); });
}

CW_INTERPOSE int epoll_wait(int fd, epoll_event* events, int most, int timeout) {
  if (!tracked()) return CW_REAL(epoll_wait)(fd, events, most, timeout);
  return any(only_one(fd, timeout >= 0), CW_SITE, [=] { return CW_REAL(epoll_wait)(fd, events, most, timeout); });
}

CW_INTERPOSE int epoll_pwait(int fd, epoll_event* events, int most, int timeout, const sigset_t* mask) {
  if (!tracked()) return CW_REAL(epoll_pwait)(fd, events, most, timeout, mask);
  return any(only_one(fd, timeout >= 0 || mask != nullptr), CW_SITE, [=] { return CW_REAL(epoll_pwait)(fd, events, most, timeout, mask); });
}

CW_INTERPOSE int epoll_pwait2(int fd, epoll_event* events, int most, const timespec* timeout, const sigset_t* mask) {
  if (!tracked()) return CW_REAL(epoll_pwait2)(fd, events, most, timeout, mask);
  return any(only_one(fd, timeout != nullptr || mask != nullptr), CW_SITE, [=] { return CW_REAL(epoll_pwait2)(fd, events, most, timeout, mask); });
}
