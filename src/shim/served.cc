#include "shim/served.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "shim/own_process.h"
#include "shim/thread_channel.h"

namespace causeway::shim {

namespace {

constexpr size_t kMaxPath = 256;
char served_paths[1024];

__attribute__((constructor)) void read_paths() {
  const char* value = getenv(wire::kPathsVariable);
  if (value != nullptr && strlen(value) < sizeof served_paths) strcpy(served_paths, value);
}

// Without doubled slashes and "." components. False: too long to be one of ours.
bool canonical(const char* path, char (&result)[kMaxPath]) {
  size_t length = 0;
  while (*path != '\0') {
    if (path[0] == '/' && (path[1] == '/' || (path[1] == '.' && (path[2] == '/' || path[2] == '\0')))) {
      path += path[1] == '/' ? 1 : 2;
      continue;
    }
    if (length + 1 >= kMaxPath) return false;
    result[length++] = *path++;
  }
  result[length] = '\0';
  return true;
}

// Cookies that were seen to be the kernel's. Cookies are never used again, so an entry never grows stale.
constexpr size_t kCacheSize = 4096;
std::atomic<uint64_t> known[kCacheSize];

int returned(int64_t result) {
  if (result >= 0) return static_cast<int>(result);
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace

bool is_served(const char* path) {
  if (path == nullptr || path[0] != '/' || served_paths[0] == '\0' || socket_name() == nullptr) return false;
  char wanted[kMaxPath];
  if (!canonical(path, wanted)) return false;
  size_t length = strlen(wanted);
  for (const char* at = served_paths; *at != '\0';) {
    const char* end = strchrnul(at, ':');
    if (static_cast<size_t>(end - at) == length && memcmp(at, wanted, length) == 0) return true;
    at = *end == ':' ? end + 1 : end;
  }
  return false;
}

uint64_t served_file(int fd) {
  const char* name = socket_name();
  if (name == nullptr) return 0;
  uint64_t cookie = client::cookie_of(fd);
  if (cookie == 0) return 0;
  std::atomic<uint64_t>& slot = known[cookie % kCacheSize];
  if (slot.load(std::memory_order_relaxed) == cookie) return cookie;
  if (!client::is_file_of(fd, name)) return 0;
  slot.store(cookie, std::memory_order_relaxed);
  return cookie;
}

int open_served(const char* path, int flags) {
  char wanted[kMaxPath];
  if (!canonical(path, wanted)) return returned(-ENOENT);
  int64_t result;
  {
    ThreadChannel thread;
    result = thread.with([&](client::Channel& channel) { return channel.open(wanted, flags, own_process()); });
  }
  if (result >= 0 && (flags & O_CLOEXEC) == 0) fcntl(static_cast<int>(result), F_SETFD, 0);
  return returned(result);
}

int ioctl_served(uint64_t cookie, unsigned long request, uint64_t argument) {
  char buffer[wire::kWindow];
  client::Window window = window_at(argument, buffer);
  ThreadChannel thread;
  return returned(thread.with([&](client::Channel& channel) {
    return channel.ioctl(cookie, static_cast<uint32_t>(request), argument, window, own_process());
  }));
}

int stat_served(const char* path, wire::StatResult* result) {
  char wanted[kMaxPath];
  if (!canonical(path, wanted)) return returned(-ENOENT);
  ThreadChannel thread;
  return returned(
      thread.with([&](client::Channel& channel) { return channel.stat(wanted, result, own_process()); }));
}

}  // namespace causeway::shim
