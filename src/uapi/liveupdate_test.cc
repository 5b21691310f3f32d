// What the device and the session files do beyond the errno of a call.
#include "uapi/liveupdate.h"

#include <gtest/gtest.h>

#include <thread>

#include "uapi/devices.h"
#include "uapi/session_file.h"
#include "uapi/testing/client.h"

namespace causeway::uapi::testing {
namespace {

using luo::testing::fake_file;
using luo::testing::LuoSystem;
using luo::testing::number_of;

class LiveUpdate : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    client = std::make_unique<Client>(system.luo());
    ASSERT_EQ(client->open(), 0);
  }
  void update() {
    system.kexec();
    reopen();
  }
  int create(std::string_view name) {
    int fd = -1;
    EXPECT_EQ(client->create(name, &fd), 0);
    return fd;
  }
  int retrieve(std::string_view name) {
    int fd = -1;
    EXPECT_EQ(client->retrieve(name, &fd), 0);
    return fd;
  }
  int add(uint64_t number) { return client->task.add(fake_file(number)); }

  LuoSystem system;
  std::unique_ptr<Client> client;
};

TEST(Devices, AreFoundByPath) {
  LuoSystem system;
  Devices devices;
  must(devices.add(std::make_unique<LiveUpdateDevice>(system.luo())));
  EXPECT_EQ(error_of(devices.add(std::make_unique<LiveUpdateDevice>(system.luo()))), EEXIST);
  ClientTask task;
  EXPECT_EQ(error_of(devices.open("/dev/nothing", task)), ENOENT);
  EXPECT_EQ(must(devices.open("/dev/liveupdate", task))->link_text(), "/dev/liveupdate");
  EXPECT_EQ(devices.find("/dev/liveupdate")->mode(), 0600u);
  EXPECT_EQ(devices.paths(), std::vector<std::string_view>{"/dev/liveupdate"});
}

TEST_F(LiveUpdate, DeviceIsFreeWhenTheLastReferenceGoes) {
  file::FileRef duplicate = client->task.file(client->control);  // dup() or fork()
  client->close(client->control);
  EXPECT_EQ(client->open(), EBUSY);
  duplicate.reset();
  EXPECT_EQ(client->open(), 0);
}

TEST_F(LiveUpdate, SessionOutlivesTheDevicesFile) {
  const int vm = create("vm");
  client->close(client->control);
  EXPECT_EQ(client->preserve(vm, add(1), 1), 0);
}

TEST_F(LiveUpdate, SessionFileShowsItsName) {
  EXPECT_EQ(client->task.file(create("vm0"))->link_text(), "anon_inode:[luo_session] vm0");
}

TEST_F(LiveUpdate, ResponseIsTheWholeKnownStructureWithItsSizeUnchanged) {
  struct Larger {
    abi::SessionRequest known;
    char more[8];
  } request{Client::named("vm"), {}};
  request.known.size = sizeof(request);
  ASSERT_EQ(client->ioctl(client->control, abi::kCreateSession, &request), 0);
  EXPECT_EQ(request.known.size, sizeof(request));
  EXPECT_GE(request.known.fd, 0);
  EXPECT_STREQ(request.known.name, "vm");
}

TEST_F(LiveUpdate, ProgramMayCloseItsDescriptorRightAfterPreserving) {
  const int fd = add(5);
  const int vm = create("vm");
  ASSERT_EQ(client->preserve(vm, fd, 1), 0);
  client->close(fd);
  update();
  int again = -1;
  ASSERT_EQ(client->retrieve_fd(retrieve("vm"), 1, &again), 0);
  EXPECT_EQ(number_of(client->task.file(again)), 5u);
}

TEST_F(LiveUpdate, RetrieveTwiceGivesTwoDescriptorsOfOneOpenFile) {
  ASSERT_EQ(client->preserve(create("vm"), add(5), 1), 0);
  update();
  const int vm = retrieve("vm");
  int first = -1, second = -1;
  ASSERT_EQ(client->retrieve_fd(vm, 1, &first), 0);
  ASSERT_EQ(client->retrieve_fd(vm, 1, &second), 0);
  EXPECT_NE(first, second);
  EXPECT_EQ(client->task.file(first), client->task.file(second));
}

TEST_F(LiveUpdate, DeathOfTheProgramClosesItsSessions) {
  const uint64_t before = system.preserved();
  ASSERT_EQ(client->preserve(create("vm"), add(5), 1), 0);
  client.reset();
  EXPECT_EQ(system.preserved(), before);
  EXPECT_EQ(system.luo().stats().outgoing_sessions, 0u);
}

TEST_F(LiveUpdate, ClosingAnIncomingSessionDiscardsWhatWasNotRetrieved) {
  ASSERT_EQ(client->preserve(create("vm"), add(5), 1), 0);
  update();
  client->close(retrieve("vm"));
  int fd = -1;
  EXPECT_EQ(client->retrieve("vm", &fd), ENOENT);
  EXPECT_EQ(system.unrestored(), 0u);
}

TEST_F(LiveUpdate, DuplicatedSessionDescriptorKeepsTheSession) {
  const int vm = create("vm");
  file::FileRef duplicate = client->task.file(vm);
  client->close(vm);
  EXPECT_EQ(system.luo().stats().outgoing_sessions, 1u);
  duplicate.reset();
  EXPECT_EQ(system.luo().stats().outgoing_sessions, 0u);
}

// A thread of the program can duplicate a descriptor before the call that makes it fails.
TEST_F(LiveUpdate, DescriptorOfACallThatFailedHasNoSessionBehindIt) {
  ASSERT_EQ(client->preserve(create("vm"), add(5), 1), 0);
  update();
  auto file = std::make_shared<SessionFile>(must(system.luo().retrieve_session("vm")));
  const int fd = client->task.add(file);
  luo::SessionRef session = file->detach();
  session->cancel_retrieve();
  EXPECT_EQ(client->name_of(fd), "?");
  EXPECT_EQ(client->finish(fd), EBADF);
  client->close(fd);
  file.reset();
  int again = -1;
  EXPECT_EQ(client->retrieve_fd(retrieve("vm"), 1, &again), 0);
}

// #12 of the kernel's surprises.
TEST_F(LiveUpdate, UnwritableRetrieveSessionLeavesSessionAndMemory) {
  ASSERT_EQ(client->preserve(create("vm"), add(5), 1), 0);
  update();
  abi::SessionRequest request = Client::named("vm");
  client->task.forbid_writes(&request);
  const size_t open = client->task.open_files();
  EXPECT_EQ(client->ioctl(client->control, abi::kRetrieveSession, &request), EFAULT);
  EXPECT_EQ(client->task.open_files(), open);
  int fd = -1;
  EXPECT_EQ(client->retrieve_fd(retrieve("vm"), 1, &fd), 0);
  EXPECT_EQ(number_of(client->task.file(fd)), 5u);
}

// #12 of the kernel's surprises.
TEST_F(LiveUpdate, UnwritablePreserveFdLeavesNothingPreserved) {
  const int vm = create("vm");
  const uint64_t before = system.preserved();
  abi::FdRequest request{sizeof(request), add(5), 1};
  client->task.forbid_writes(&request);
  EXPECT_EQ(client->ioctl(vm, abi::kSessionPreserveFd, &request), EFAULT);
  EXPECT_EQ(system.preserved(), before);
  EXPECT_EQ(system.luo().stats().owned_files, 0u);
}

TEST_F(LiveUpdate, UnwritableCreateSessionLeavesNoSession) {
  abi::SessionRequest request = Client::named("vm");
  client->task.forbid_writes(&request);
  const uint64_t before = system.preserved();
  const size_t open = client->task.open_files();
  EXPECT_EQ(client->ioctl(client->control, abi::kCreateSession, &request), EFAULT);
  EXPECT_EQ(system.preserved(), before);
  EXPECT_EQ(client->task.open_files(), open);
}

TEST_F(LiveUpdate, NoDescriptorAfterTheSessionWasMadeUndoesIt) {
  // expect_fd() is a guess: another thread of the program may take the last descriptor.
  struct Optimist : ClientTask {
    Status expect_fd() override { return {}; }
    Result<int> install_fd(file::FileRef) override { return fail(EMFILE, "taken meanwhile"); }
  } task;
  abi::SessionRequest request = Client::named("vm");
  const file::FileRef control = client->task.file(client->control);
  EXPECT_EQ(error_of(control->ioctl(task, abi::kCreateSession, address_of(&request))), EMFILE);
  EXPECT_EQ(system.luo().stats().outgoing_sessions, 0u);
  create("vm");
  update();
  const file::FileRef next = client->task.file(client->control);
  EXPECT_EQ(error_of(next->ioctl(task, abi::kRetrieveSession, address_of(&request))), EMFILE);
  retrieve("vm");
}

TEST_F(LiveUpdate, CallsAndClosesDuringAnUpdateWaitAndAreHarmlessAfterIt) {
  const int vm = create("vm");
  ASSERT_EQ(client->preserve(vm, add(5), 1), 0);
  std::unique_ptr<luo::Orchestrator> old = system.kexec_keeping_old();
  int late = 0;
  std::thread call([&, fd = add(6)] { late = client->preserve(vm, fd, 2); });
  old.reset();
  call.join();
  EXPECT_EQ(late, ENODEV);
  client.reset();
  system.crash();
  reopen();
  int fd = -1;
  EXPECT_EQ(client->retrieve_fd(retrieve("vm"), 1, &fd), 0);
}

TEST_F(LiveUpdate, ArgumentAtTheEndOfTheAddressSpaceIsEfaultNotACrash) {
  struct Anywhere : ClientTask {
    Status copy_from_user(std::span<std::byte> to, UserAddr) override {
      const uint32_t size = 4096;
      std::memset(to.data(), 0, to.size());
      if (to.size() == sizeof(size)) std::memcpy(to.data(), &size, sizeof(size));
      return {};
    }
  } task;
  const file::FileRef control = client->task.file(client->control);
  EXPECT_EQ(error_of(control->ioctl(task, abi::kCreateSession, UserAddr(~uint64_t{0} - 8))), EFAULT);
}

}  // namespace
}  // namespace causeway::uapi::testing
