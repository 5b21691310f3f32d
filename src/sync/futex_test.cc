#include "sync/futex.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace causeway::sync {
namespace {

TEST(Futex, ReturnsChangedWhenTheWordDiffers) {
  std::atomic<uint32_t> word{1};
  EXPECT_EQ(futex_wait(&word, 0), FutexWait::kChanged);
}

TEST(Futex, TimesOutAtAnAbsoluteDeadline) {
  std::atomic<uint32_t> word{0};
  Deadline deadline = Deadline::after(std::chrono::milliseconds(2));
  while (futex_wait(&word, 0, deadline) != FutexWait::kTimedOut) {
  }
  EXPECT_TRUE(deadline.has_passed());
}

TEST(Futex, WakeOfNobodyIsZero) {
  std::atomic<uint32_t> word{0};
  EXPECT_EQ(futex_wake(&word, 1), 0);
}

TEST(Futex, LeavesErrnoAlone) {
  std::atomic<uint32_t> word{1};
  errno = EDOM;
  (void)futex_wait(&word, 0);
  (void)futex_wake(nullptr, 1, FutexScope::kShared);
  EXPECT_EQ(errno, EDOM);
}

TEST(Futex, SharedScopeWakesAnotherProcess) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  std::atomic_ref<uint32_t> word(*static_cast<uint32_t*>(page));
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    while (word.load(std::memory_order_acquire) == 0)
      futex_wait(page, 0, Deadline::never(), FutexScope::kShared);
    ::_exit(7);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  word.store(1, std::memory_order_release);
  futex_wake(page, kFutexWakeAll, FutexScope::kShared);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  ::munmap(page, 4096);
}

}  // namespace
}  // namespace causeway::sync
