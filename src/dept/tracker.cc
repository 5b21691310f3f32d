#include "dept/tracker.h"

#include <cerrno>
#include <ctime>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

#include "dept/waiters.h"

namespace causeway::dept {

namespace detail {
constinit __thread Tls tls __attribute__((tls_model("initial-exec"))) = {};
constinit std::atomic<bool> is_on{false};
constinit Waiters waiters;
}  // namespace detail

alignas(64) constinit std::byte Tracker::storage_[sizeof(Tracker)] = {};

namespace {

constinit std::atomic<bool> g_started{false};

void nap(long microseconds) {
  struct timespec length = {microseconds / 1000000, microseconds % 1000000 * 1000};
#if defined(__x86_64__)
  long result = 35;
  asm volatile("syscall" : "+a"(result) : "D"(&length), "S"(0L) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long number asm("x8") = 101;
  register long x0 asm("x0") = reinterpret_cast<long>(&length);
  register long x1 asm("x1") = 0;
  asm volatile("svc 0" : "+r"(x0) : "r"(number), "r"(x1) : "memory");
#endif
}

}  // namespace

int Tracker::create(int fd) {
  int error = arena_.create(fd, settings_.capacity);
  if (error == 0) error = objects_.create(settings_.capacity.objects);
  if (error == 0) error = site_stacks_.create();
  if (error == 0) error = order_.create();
  if (error == 0) error = detail::waiters.create(settings_.capacity.waiters);
  return error;
}

int Tracker::start(const Settings& settings) {
  if (g_started.exchange(true)) return -EALREADY;
  auto* tracker = new (storage_) Tracker(settings);
  const int error = tracker->create(settings.fd);
  if (error < 0) return error;
  detail::is_on.store(true, std::memory_order_release);
  return 0;
}

int Tracker::start_again(const Settings& settings) {
  detail::is_on.store(false, std::memory_order_relaxed);
  if (ThreadContext* self = detail::tls.context) {
    ::munmap(self, sizeof(ThreadContext));
    detail::tls = {};
  }
  if (g_started.exchange(false)) {
    Tracker& old = get();
    old.objects_.destroy();
    old.site_stacks_.destroy();
    old.order_.destroy();
    detail::waiters.destroy();
    old.~Tracker();
  }
  return start(settings);
}

void Tracker::stop(const char* why) {
  if (!detail::is_on.exchange(false)) return;
  get().graph_.forget_known();  // after it: who reads the new generation sees that it is off
  Inside inside;
  ArenaHeader& header = get().arena_.header();
  header.stopped.store(index_of(get().arena_.intern(why)), std::memory_order_relaxed);
}

void Tracker::make_noise(ThreadContext* self) {
  if (settings_.noise_us == 0) [[likely]] return;
  self->random = self->random * 1664525 + 1013904223;
  nap((self->random >> 8) % settings_.noise_us);
}

void Tracker::report(Problem problem, Misuse misuse, Level level, ThreadContext* self, ObjectId object, LazyStack& stack,
                     StackId other_stack) {
  mark_recorded(arena_.at<Object>(object));
  publish(graph_.report(problem, misuse, level, self->thread, object, stack.id(arena_), other_stack));
}

}  // namespace causeway::dept
