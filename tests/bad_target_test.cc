// A live update into something that is no good: refused with the old kernel running on, or, when that can be
// known too late only, a machine whose devices run on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "live_machine.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BadTarget : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(machine_.boot()) << machine_.trouble();
    ASSERT_TRUE(machine_.wait_for_work(50));
    epoch_ = machine_.status()->total().device_epoch;
  }

  // Refused, for a reason that says `named`; the same kernel goes on with the same stream.
  void expect_refused(const std::string& target, const std::string& named) {
    std::string reason;
    auto update = machine_.kexec(target, &reason);
    ASSERT_FALSE(update.has_value());
    EXPECT_EQ(update.error().code, Errno{ECANCELED});
    EXPECT_THAT(reason, HasSubstr(named));
    auto now = machine_.status();
    ASSERT_TRUE(now);
    EXPECT_EQ(now->status.generation, 1u);
    EXPECT_TRUE(machine_.wait_for_work(50));
    EXPECT_THAT(machine_.faults(epoch_), IsEmpty());
  }

  LiveMachine machine_;
  TemporaryDirectory directory_;
  uint32_t epoch_ = 0;
};

TEST_F(BadTarget, MissingIsRefused) { expect_refused("/nonexistent/kernel", "/nonexistent/kernel"); }

TEST_F(BadTarget, NotExecutableIsRefused) {
  std::string copy = directory_.path() + "/kernel";
  std::filesystem::copy_file(program("causeway-kernel"), copy);
  std::filesystem::permissions(copy, std::filesystem::perms::owner_read);
  expect_refused(copy, "not an executable");
}

TEST_F(BadTarget, DirectoryIsRefused) { expect_refused(directory_.path(), directory_.path()); }

TEST_F(BadTarget, ProgramThatIsNoKernelIsRefused) { expect_refused("/bin/true", "/bin/true"); }

TEST_F(BadTarget, TextFileIsRefused) {
  std::string path = directory_.path() + "/script";
  std::ofstream(path) << "#!/bin/sh\nexit 0\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  expect_refused(path, path);
}

TEST_F(BadTarget, TruncatedKernelIsRefused) {
  std::string copy = directory_.path() + "/kernel";
  std::filesystem::copy_file(program("causeway-kernel"), copy);
  std::filesystem::resize_file(copy, 4096);
  expect_refused(copy, copy);
}

TEST_F(BadTarget, KernelOfAnotherAbiIsRefusedWithBothFormats) {
  expect_refused(program("alien-kernel"), "kho-v99");
  expect_refused(program("alien-kernel"), "kho-v4");
}

TEST_F(BadTarget, GoodOneAfterARefusalIsTaken) {
  expect_refused("/bin/true", "/bin/true");
  std::string reason;
  auto update = machine_.kexec(program("causeway-kernel-next"), &reason);
  ASSERT_TRUE(update.has_value()) << reason;
  EXPECT_EQ(update->after.status.generation, 2u);
  EXPECT_TRUE(machine_.wait_for_work(50));
  EXPECT_THAT(machine_.faults(epoch_), IsEmpty());
}

TEST_F(BadTarget, KernelThatDiesAtBootLeavesMachineAndStreamToTheNext) {
  std::string reason;
  auto update = machine_.kexec(program("dying-kernel"), &reason);
  ASSERT_FALSE(update.has_value());
  EXPECT_EQ(update.error().code, Errno{ECONNREFUSED});
  EXPECT_THAT(reason, HasSubstr("died at boot"));
  EXPECT_TRUE(machine_.kernel_ended(10000));
  EXPECT_EQ(machine_.how_kernel_ended(), "exit status 3");

  auto client = machine_.client();
  ASSERT_TRUE(client.has_value()) << "the machine runs on";
  EXPECT_TRUE(client->status().has_value());

  ASSERT_TRUE(machine_.boot("causeway-kernel-next"));
  auto now = machine_.status();
  ASSERT_TRUE(now);
  EXPECT_TRUE(now->total().adopted);
  EXPECT_TRUE(machine_.wait_for_work(100));
  EXPECT_THAT(machine_.faults(epoch_), IsEmpty());
}

TEST_F(BadTarget, TwoDyingKernelsInARowAreSurvivedToo) {
  for (int i = 0; i < 2; ++i) {
    std::string reason;
    ASSERT_FALSE(machine_.kexec(program("dying-kernel"), &reason).has_value());
    ASSERT_TRUE(machine_.kernel_ended(10000));
    ASSERT_TRUE(machine_.boot());
  }
  EXPECT_TRUE(machine_.wait_for_work(100));
  EXPECT_THAT(machine_.faults(epoch_), IsEmpty());
}

}  // namespace
}  // namespace causeway::tests
