#include "server/open_files.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <vector>

#include "server/control.h"

namespace causeway::server {

namespace {

// 0: not a socket.
uint64_t cookie_of(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

}  // namespace

Result<std::unique_ptr<OpenFiles>> OpenFiles::create(std::string prefix) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_with_errno("cannot watch the files of clients");
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return fail_with_errno("cannot watch the files of clients");
  std::unique_ptr<OpenFiles> files(new OpenFiles(std::move(prefix), std::move(epoll), std::move(stop)));
  files->watcher_ = CW_TRY(sync::Thread::create("open_files", [self = files.get()](sync::StopToken token) {
    self->watch(token);
  }));
  return files;
}

OpenFiles::OpenFiles(std::string prefix, UniqueFd epoll, UniqueFd stop)
    : prefix_(std::move(prefix)), epoll_(std::move(epoll)), stop_(std::move(stop)) {}

OpenFiles::~OpenFiles() {
  watcher_.request_stop();
  ::eventfd_write(stop_.get(), 1);
  watcher_.join();
}

Result<UniqueFd> OpenFiles::open(file::FileRef file) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_with_errno("no sockets left for a client's file");
  UniqueFd ours(ends[0]), theirs(ends[1]);
  uint64_t cookie = cookie_of(theirs.get());

  sync::MutexLock lock(mutex_);
  CW_TRY(bind_to(ours.get(), fmt::format("{}{}", prefix_, next_name_++)));
  // Nothing is ever to be read there: a program that reads must not wait for ever, and poll() shows a file that is always
  // ready, as the kernel does for files without a poll operation.
  ::shutdown(ours.get(), SHUT_WR);
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLHUP;
  event.data.u64 = cookie;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ours.get(), &event) != 0)
    return fail_with_errno("cannot watch a client's file");
  entries_.emplace(cookie, Entry{std::move(ours), std::move(file)});
  return theirs;
}

file::FileRef OpenFiles::find(uint64_t cookie) const {
  sync::MutexLock lock(mutex_);
  auto it = entries_.find(cookie);
  return it == entries_.end() ? nullptr : it->second.file;
}

file::FileRef OpenFiles::find_by_fd(int fd) const {
  uint64_t cookie = cookie_of(fd);
  return cookie == 0 ? nullptr : find(cookie);
}

void OpenFiles::reap() {
  sync::MutexLock reaping(reaping_);
  while (true) {
    std::array<epoll_event, 64> events;
    int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (ready <= 0) return;
    std::vector<Entry> closed;
    {
      sync::MutexLock lock(mutex_);
      for (int i = 0; i < ready; ++i) {
        auto node = entries_.extract(events[static_cast<size_t>(i)].data.u64);
        if (!node.empty()) closed.push_back(std::move(node.mapped()));
      }
    }
    // Released here, in the order in which they were closed as far as one look can tell.
    for (Entry& entry : closed) {
      entry.end.reset();
      entry.file.reset();
    }
    closed_.fetch_add(closed.size(), std::memory_order_release);
  }
}

size_t OpenFiles::count() const {
  sync::MutexLock lock(mutex_);
  return entries_.size();
}

void OpenFiles::watch(const sync::StopToken& stop) {
  while (!stop.stop_requested()) {
    pollfd events[2] = {{epoll_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(events, 2, -1) > 0 && events[0].revents != 0) reap();
  }
}

}  // namespace causeway::server
