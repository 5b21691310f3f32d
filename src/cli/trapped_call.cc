#include "cli/trapped_call.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"
#include "client/process_memory.h"
#include "client/stat.h"

namespace causeway::cli {
namespace {

constexpr size_t kMaxPath = 256;  // longer ones are not ours

// The process a thread belongs to: pidfds are of processes.
pid_t process_of(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("Tgid:", 0) == 0) return static_cast<pid_t>(std::strtol(line.c_str() + 5, nullptr, 10));
  return thread;
}

}  // namespace

seccomp_notif_resp TrappedCall::carry_out(client::Channel& channel) {
  const __u64* a = call_.data.args;
  Outcome outcome;
  switch (call_.data.nr) {
    case SYS_openat: outcome = open(channel, a[1], static_cast<int>(a[2])); break;
    case SYS_newfstatat: outcome = stat(channel, a[1], a[2], false); break;
    case SYS_statx: outcome = stat(channel, a[1], a[4], true); break;
    case SYS_faccessat:
    case SYS_faccessat2: outcome = access(channel, a[1], a[2]); break;
#ifdef SYS_open
    case SYS_open: outcome = open(channel, a[0], static_cast<int>(a[1])); break;
    case SYS_stat:
    case SYS_lstat: outcome = stat(channel, a[0], a[1], false); break;
    case SYS_access: outcome = access(channel, a[0], a[1]); break;
#endif
    case SYS_ioctl: outcome = ioctl(channel); break;
    default: break;
  }
  seccomp_notif_resp answer{};
  answer.id = call_.id;
  if (!outcome.ours) {
    answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  } else if (outcome.result < 0) {
    answer.error = static_cast<int>(outcome.result);
  } else {
    answer.val = outcome.result;
  }
  return answer;
}

template <typename Call>
int64_t TrappedCall::with(client::Channel& channel, Call call) {
  auto ready = [&] { return channel.connected() || channel.connect(served_.socket.c_str()) == 0 ? 0 : -ENODEV; };
  return client::call_on(channel, ready, [&](client::Channel&) { return call(); });
}

bool TrappedCall::is_served(uint64_t path, std::string* text) const {
  char bytes[kMaxPath];
  int64_t got = copy(SYS_process_vm_readv, path, bytes, sizeof bytes);
  if (got <= 0 || std::memchr(bytes, '\0', static_cast<size_t>(got)) == nullptr || bytes[0] != '/') return false;
  *text = std::filesystem::path(bytes).lexically_normal();
  return std::find(served_.paths.begin(), served_.paths.end(), *text) != served_.paths.end();
}

TrappedCall::Outcome TrappedCall::open(client::Channel& channel, uint64_t path, int flags) {
  std::string text;
  if (!is_served(path, &text)) return {};
  close_on_exec_ = (flags & O_CLOEXEC) != 0;
  return {true, with(channel, [&] { return channel.open(text.c_str(), flags, host()); })};
}

TrappedCall::Outcome TrappedCall::ioctl(client::Channel& channel) {
  UniqueFd file(static_cast<int>(take_fd(static_cast<int>(call_.data.args[0]))));
  uint64_t cookie = file ? client::cookie_of(file.get()) : 0;
  if (cookie == 0 || !client::is_file_of(file.get(), served_.socket.c_str())) return {};
  // The call goes by the cookie. Kept open here, the file would outlive a program that is killed in the middle.
  file.reset();
  uint64_t argument = call_.data.args[2];
  char bytes[wire::kWindow];
  int64_t got = argument < client::kPage ? 0 : copy(SYS_process_vm_readv, argument, bytes, sizeof bytes);
  client::Window window{bytes, static_cast<size_t>(got), false};
  return {true, with(channel, [&] {
            return channel.ioctl(cookie, static_cast<uint32_t>(call_.data.args[1]), argument, window, host());
          })};
}

TrappedCall::Outcome TrappedCall::stat(client::Channel& channel, uint64_t path, uint64_t buffer, bool extended) {
  std::string text;
  if (!is_served(path, &text)) return {};
  wire::StatResult found{};
  int64_t result = with(channel, [&] { return channel.stat(text.c_str(), &found, host()); });
  if (result != 0) return {true, result};
  if (extended) {
    struct statx info;
    client::fill_statx(found, &info);
    return {true, host().copy_out(this, buffer, &info, sizeof info)};
  }
  struct stat info;
  client::fill_stat(found, &info);
  return {true, host().copy_out(this, buffer, &info, sizeof info)};
}

TrappedCall::Outcome TrappedCall::access(client::Channel& channel, uint64_t path, uint64_t mode) {
  std::string text;
  if (!is_served(path, &text)) return {};
  wire::StatResult found{};
  int64_t result = with(channel, [&] { return channel.stat(text.c_str(), &found, host()); });
  return {true, result == 0 && (mode & X_OK) != 0 ? -EACCES : result};
}

client::Host TrappedCall::host() {
  client::Host host{};
  host.self = this;
  host.copy_in = [](void* p, uint64_t address, void* to, size_t size) {
    return static_cast<TrappedCall*>(p)->copy(SYS_process_vm_readv, address, to, size);
  };
  host.copy_out = [](void* p, uint64_t address, const void* from, size_t size) -> int64_t {
    int64_t done = static_cast<TrappedCall*>(p)->copy(SYS_process_vm_writev, address, const_cast<void*>(from), size);
    return done == static_cast<int64_t>(size) ? 0 : -EFAULT;
  };
  host.take_fd = [](void* p, int fd) { return static_cast<TrappedCall*>(p)->take_fd(fd); };
  host.release_fd = [](void*, int taken) { ::close(taken); };
  host.give_fd = [](void* p, int received) { return static_cast<TrappedCall*>(p)->give_fd(received); };
  host.close_fd = [](void* p, int fd) {
    // Nobody can close another process's descriptor; one of /dev/null in its place releases the file.
    UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
    auto* call = static_cast<TrappedCall*>(p);
    seccomp_notif_addfd replace{};
    replace.id = call->call_.id;
    replace.flags = SECCOMP_ADDFD_FLAG_SETFD;
    replace.srcfd = static_cast<unsigned>(nothing.get());
    replace.newfd = static_cast<unsigned>(fd);
    ::ioctl(call->listener_, SECCOMP_IOCTL_NOTIF_ADDFD, &replace);
  };
  return host;
}

int64_t TrappedCall::copy(long number, uint64_t address, void* local, size_t size) const {
  return client::copy_memory(number, static_cast<pid_t>(call_.pid), address, local, size);
}

int64_t TrappedCall::take_fd(int fd) const {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, process_of(static_cast<pid_t>(call_.pid)), 0)));
  if (!process) return -EBADF;
  long taken = ::syscall(SYS_pidfd_getfd, process.get(), fd, 0);
  return taken < 0 ? -EBADF : taken;
}

int64_t TrappedCall::give_fd(int received) const {
  UniqueFd file(received);
  seccomp_notif_addfd add{};
  add.id = call_.id;
  add.srcfd = static_cast<unsigned>(file.get());
  add.newfd_flags = close_on_exec_ ? O_CLOEXEC : 0;
  int number = ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
  return number < 0 ? -errno : number;
}

}  // namespace causeway::cli
