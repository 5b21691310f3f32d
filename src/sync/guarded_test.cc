#include "sync/guarded.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace causeway::sync {
namespace {

TEST(Guarded, ReachesTheDataUnderTheLock) {
  Guarded<std::vector<int>> items(LockName("test.items"));
  items.with([](auto& list) { list.push_back(3); });
  EXPECT_EQ(items.with([](auto& list) { return list.size(); }), 1u);
}

TEST(Guarded, PassesArgumentsToTheData) {
  Guarded<std::string> text(LockName("test.text"), 3, 'x');
  EXPECT_EQ(text.with([](std::string& value) { return value; }), "xxx");
}

TEST(Guarded, ReturnsByValue) {
  Guarded<int> number(LockName("test.number"), 5);
  static_assert(std::is_same_v<decltype(number.with([](int& n) -> int& { return n; })), int>);
  auto moved = number.with([](int& n) { return std::make_unique<int>(n); });
  EXPECT_EQ(*moved, 5);
}

template <typename Lock>
class GuardedBy : public ::testing::Test {};
using Locks = ::testing::Types<Mutex, SpinLock, RwLock>;
TYPED_TEST_SUITE(GuardedBy, Locks);

TYPED_TEST(GuardedBy, ExcludesOtherThreads) {
  Guarded<uint64_t, TypeParam> count;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 2000; ++n) count.with([](uint64_t& value) { ++value; });
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::as_const(count).with([](const uint64_t& value) { return value; }), 6000u);
}

TEST(Guarded, ReadersOfARwLockAreInsideTogether) {
  Guarded<int, RwLock> number(LockName("test.rw"), 1);
  int both = number.with_shared([&](const int& outer) {
    int inner = 0;
    std::thread([&] { inner = number.with_shared([](const int& value) { return value; }); }).join();
    return outer + inner;
  });
  EXPECT_EQ(both, 2);
}

TEST(Guarded, WithWhenSleepsUntilTheDataIsRight) {
  Guarded<int> number(LockName("test.when"), 0);
  CondVar changed;
  std::thread setter([&] {
    number.with([](int& value) { value = 9; });
    changed.notify_all();
  });
  int seen = number.with_when(
      changed, [](const int& value) { return value != 0; }, [](int& value) { return std::exchange(value, 0); });
  setter.join();
  EXPECT_EQ(seen, 9);
}

}  // namespace
}  // namespace causeway::sync
