#include "shim/own_process.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "client/process_memory.h"

// The top of the first thread's stack, from the dynamic loader.
extern "C" void* __libc_stack_end;

namespace causeway::shim {

namespace {

// A stack pointer further away from the top belongs to another stack: a coroutine's, a signal's.
constexpr uint64_t kPlausibleDepth = 16 << 20;

struct Stack {
  uint64_t bottom;
  uint64_t top;
};
__thread Stack stack __attribute__((tls_model("initial-exec")));

Stack find_stack() {
  if (client::raw(SYS_gettid) == client::raw(SYS_getpid)) {
    uint64_t top = reinterpret_cast<uint64_t>(__libc_stack_end);
    return {top - kPlausibleDepth, top};
  }
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return {1, 1};
  void* bottom = nullptr;
  size_t size = 0;
  pthread_attr_getstack(&attributes, &bottom, &size);
  pthread_attr_destroy(&attributes);
  return {reinterpret_cast<uint64_t>(bottom), reinterpret_cast<uint64_t>(bottom) + size};
}

int64_t copy_in(void*, uint64_t address, void* to, size_t size) {
  return client::copy_memory(SYS_process_vm_readv, client::raw(SYS_getpid), address, to, size);
}

int64_t copy_out(void*, uint64_t address, const void* from, size_t size) {
  int64_t done =
      client::copy_memory(SYS_process_vm_writev, client::raw(SYS_getpid), address, const_cast<void*>(from), size);
  return done == static_cast<int64_t>(size) ? 0 : -EFAULT;
}

int64_t take_fd(void*, int fd) { return fd < 0 ? -EBADF : fd; }
void release_fd(void*, int) {}
int64_t give_fd(void*, int received) { return received; }
void close_fd(void*, int fd) {
  client::raw(SYS_close, fd);
}

}  // namespace

const client::Host& own_process() {
  static constexpr client::Host host{nullptr, copy_in, copy_out, take_fd, release_fd, give_fd, close_fd};
  return host;
}

client::Window window_at(uint64_t argument, char (&buffer)[wire::kWindow]) {
  if (argument < client::kPage) return {};
  if (stack.top == 0) stack = find_stack();
  uint64_t here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  bool on_stack = here >= stack.bottom && here < stack.top && argument > here && argument < stack.top;
  if (on_stack) {
    uint64_t rest = stack.top - argument;
    return {reinterpret_cast<const void*>(argument), rest < wire::kWindow ? rest : wire::kWindow, true};
  }
  return {buffer, static_cast<size_t>(copy_in(nullptr, argument, buffer, wire::kWindow)), false};
}

}  // namespace causeway::shim
