// The client's end of the wire against a real server, in one process.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstring>
#include <functional>
#include <set>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "client/channel.h"
#include "server/testing/test_server.h"

namespace causeway::client {
namespace {

using server::testing::descriptors_in_use;
using server::testing::eventually;
using server::testing::TestDevice;
using server::testing::TestServer;

// This process as the program, with memory that can be taken away and a descriptor table that can be full.
struct FakeProgram {
  uint64_t bad_begin = 0, bad_end = 0;  // addresses that fault
  bool table_is_full = false;
  std::set<int> closed;
  uint64_t copies = 0;
  std::function<void()> in_copy;  // what else happens while memory is read

  bool faults(uint64_t address, size_t size) const { return address < bad_end && address + size > bad_begin; }

  Host host() {
    Host host{};
    host.self = this;
    host.copy_in = [](void* self, uint64_t address, void* to, size_t size) -> int64_t {
      auto* program = static_cast<FakeProgram*>(self);
      ++program->copies;
      if (program->in_copy) std::exchange(program->in_copy, nullptr)();
      if (program->faults(address, size)) return address < program->bad_begin ? static_cast<int64_t>(program->bad_begin - address) : 0;
      std::memcpy(to, reinterpret_cast<const void*>(address), size);
      return static_cast<int64_t>(size);
    };
    host.copy_out = [](void* self, uint64_t address, const void* from, size_t size) -> int64_t {
      auto* program = static_cast<FakeProgram*>(self);
      ++program->copies;
      if (program->faults(address, size)) return -EFAULT;
      std::memcpy(reinterpret_cast<void*>(address), from, size);
      return 0;
    };
    host.take_fd = [](void*, int fd) -> int64_t { return ::fcntl(fd, F_GETFD) < 0 ? -EBADF : fd; };
    host.release_fd = [](void*, int) {};
    host.give_fd = [](void* self, int received) -> int64_t {
      if (!static_cast<FakeProgram*>(self)->table_is_full) return received;
      ::close(received);
      return -EMFILE;
    };
    host.close_fd = [](void* self, int fd) {
      static_cast<FakeProgram*>(self)->closed.insert(fd);
      ::close(fd);
    };
    return host;
  }
};

class ClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server.runs());
    ASSERT_EQ(channel.connect(server.name().c_str()), 0);
    ASSERT_EQ(channel.stat("/dev/test", &found, host), 0);  // whatever is made on the first call, is made
    idle_descriptors = descriptors_in_use();
  }
  void TearDown() override {
    channel.close();
    EXPECT_TRUE(!server.runs() || server.is_idle());
  }

  UniqueFd open(const char* path = "/dev/test") {
    int64_t fd = channel.open(path, O_RDWR, host);
    EXPECT_GE(fd, 0);
    return UniqueFd(static_cast<int>(fd));
  }
  int64_t ioctl(int fd, uint32_t command, const void* argument, Window window = {}) {
    return ioctl(fd, command, reinterpret_cast<uint64_t>(argument), window);
  }
  int64_t ioctl(int fd, uint32_t command, uint64_t argument, Window window = {}) {
    return channel.ioctl(cookie_of(fd), command, argument, window, host);
  }

  TestServer server;
  FakeProgram program;
  Host host = program.host();
  Channel channel;
  wire::StatResult found{};
  size_t idle_descriptors = 0;
};

TEST_F(ClientTest, StatShowsTheDeviceOrSaysThatThereIsNone) {
  EXPECT_EQ(channel.stat("/dev/test", &found, host), 0);
  EXPECT_EQ(found.mode, static_cast<uint32_t>(S_IFCHR | 0640));
  EXPECT_EQ(found.major, 10u);
  EXPECT_EQ(found.minor, 77u);
  EXPECT_EQ(channel.stat("/dev/tes", &found, host), -ENOENT);
  EXPECT_EQ(channel.stat("", &found, host), -ENOENT);
  EXPECT_EQ(channel.stat(std::string(10000, 'x').c_str(), &found, host), -ENOENT);
}

TEST_F(ClientTest, OpenGivesACloseOnExecDescriptorThatIsKnownByItsPeer) {
  UniqueFd file = open();
  EXPECT_EQ(::fcntl(file.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_TRUE(is_file_of(file.get(), server.name().c_str()));
  EXPECT_FALSE(is_file_of(file.get(), "causeway-test/other"));
  EXPECT_FALSE(is_file_of(STDIN_FILENO, server.name().c_str()));
  std::string shorter = server.name().substr(0, server.name().size() - 1);
  EXPECT_FALSE(is_file_of(file.get(), shorter.c_str())) << "the name of another machine that ours begins with";
  EXPECT_EQ(cookie_of(STDIN_FILENO), 0u);
  EXPECT_EQ(channel.open("/dev/none", O_RDWR, host), -ENOENT);
}

TEST_F(ClientTest, ResultsAndErrorsOfAnIoctlArePassedOn) {
  UniqueFd file = open();
  EXPECT_EQ(ioctl(file.get(), TestDevice::kFail, uint64_t{0}), -EDOM);
  EXPECT_EQ(channel.ioctl(12345, TestDevice::kAdd, 0, {}, host), -ENODEV) << "no file has this cookie";
}

TEST_F(ClientTest, AWritableWindowNeedsNoCopies) {
  UniqueFd file = open();
  uint64_t number = 41;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number, {&number, sizeof number, true}), 0);
  EXPECT_EQ(number, 42u);
  EXPECT_EQ(program.copies, 0u);
}

TEST_F(ClientTest, AWindowThatMayFaultIsReadButWrittenThroughTheHost) {
  UniqueFd file = open();
  uint64_t number = 41, copy = 41;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number, {&copy, sizeof copy, false}), 0);
  EXPECT_EQ(number, 42u);
  EXPECT_EQ(copy, 41u);
  EXPECT_EQ(program.copies, 1u);
}

TEST_F(ClientTest, WithoutAWindowEverythingGoesThroughTheHost) {
  UniqueFd file = open();
  uint64_t number = 41;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number), 0);
  EXPECT_EQ(number, 42u);
  EXPECT_EQ(program.copies, 2u);
}

TEST_F(ClientTest, CopiesLargerThanAPageArriveWhole) {
  UniqueFd file = open();
  std::vector<uint32_t> from(10000), to(10000);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint32_t>(i * 2654435761u);
  for (size_t size : {size_t{1}, wire::kPayload - 1, wire::kPayload, wire::kPayload + 1, 40000 * size_t{1}}) {
    std::memset(to.data(), 0, to.size() * 4);
    TestDevice::Copy copy{reinterpret_cast<uint64_t>(from.data()), reinterpret_cast<uint64_t>(to.data()), size};
    EXPECT_EQ(ioctl(file.get(), TestDevice::kCopy, &copy, {&copy, sizeof copy, true}), static_cast<int64_t>(size));
    EXPECT_EQ(std::memcmp(from.data(), to.data(), size), 0) << size;
    EXPECT_TRUE(size == 40000 || reinterpret_cast<char*>(to.data())[size] == 0) << size;
  }
}

TEST_F(ClientTest, MemoryThatFaultsIsEfaultAndTheChannelGoesOn) {
  UniqueFd file = open();
  std::vector<char> from(20000, 'a'), to(20000);
  TestDevice::Copy copy{reinterpret_cast<uint64_t>(from.data()), reinterpret_cast<uint64_t>(to.data()), from.size()};
  Window window{&copy, sizeof copy, true};
  program.bad_begin = copy.from + 9000;
  program.bad_end = program.bad_begin + 1;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kCopy, &copy, window), -EFAULT);
  program.bad_begin = copy.to + 19999;
  program.bad_end = program.bad_begin + 1;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kCopy, &copy, window), -EFAULT);
  EXPECT_EQ(to[0], 'a') << "what comes before the fault has been copied";
  program.bad_begin = program.bad_end = 0;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kCopy, &copy, window), 20000);
}

TEST_F(ClientTest, AFaultAtTheArgumentItselfIsEfault) {
  UniqueFd file = open();
  uint64_t number = 1;
  program.bad_begin = reinterpret_cast<uint64_t>(&number);
  program.bad_end = program.bad_begin + sizeof number;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number), -EFAULT);
  uint64_t copy = 1;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number, {&copy, sizeof copy, false}), -EFAULT);
  EXPECT_EQ(number, 1u);
}

TEST_F(ClientTest, FilesAreGivenAndTaken) {
  UniqueFd file = open();
  int number = -1;
  ASSERT_EQ(ioctl(file.get(), TestDevice::kGiveFile, &number), 0);
  UniqueFd second(number);
  EXPECT_TRUE(is_file_of(number, server.name().c_str()));
  EXPECT_EQ(server.live_files.load(), 2);
  EXPECT_EQ(ioctl(file.get(), TestDevice::kTakeFd, static_cast<uint64_t>(number)), 1);
  UniqueFd pipe_end(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(ioctl(second.get(), TestDevice::kTakeFd, static_cast<uint64_t>(pipe_end.get())), 2);
  EXPECT_EQ(ioctl(file.get(), TestDevice::kTakeFd, uint64_t{9999}), -EBADF);
  EXPECT_EQ(ioctl(file.get(), TestDevice::kTakeFd, ~uint64_t{0}), -EBADF);
}

TEST_F(ClientTest, AFileOfTheHostIsGivenAsItIs) {
  UniqueFd file = open();
  int number = -1;
  ASSERT_EQ(ioctl(file.get(), TestDevice::kGiveMemory, &number), 0);
  UniqueFd memory(number);
  struct stat info;
  ASSERT_EQ(::fstat(memory.get(), &info), 0);
  EXPECT_EQ(info.st_size, 8192);
  EXPECT_FALSE(is_file_of(memory.get(), server.name().c_str()));
}

TEST_F(ClientTest, AGivenDescriptorIsTakenBackWhenTheCallFails) {
  UniqueFd file = open();
  EXPECT_EQ(ioctl(file.get(), TestDevice::kGiveAndFail, uint64_t{0}), -ENOSPC);
  EXPECT_EQ(program.closed.size(), 1u);
  EXPECT_EQ(server.live_files.load(), 1) << "released before the call returned";
  EXPECT_EQ(descriptors_in_use(), idle_descriptors + 2) << "the file, and the server's end of it";
}

TEST_F(ClientTest, AFullTableOfTheProgramIsEmfileAndTheFileIsReleased) {
  UniqueFd file = open();
  int number = -1;
  program.table_is_full = true;
  EXPECT_EQ(ioctl(file.get(), TestDevice::kGiveFile, &number), -EMFILE);
  EXPECT_EQ(channel.open("/dev/test", O_RDWR, host), -EMFILE);
  program.table_is_full = false;
  UniqueFd another = open();
  EXPECT_EQ(server.live_files.load(), 2);
}

// The host's kernel drops a descriptor out of the message when the receiver has no number for it. The client sleeps when
// it comes from kGiveLate, and may spin when it comes from kGiveFile.
TEST_F(ClientTest, ADescriptorThatFindsNoNumberOnTheSocketIsEmfile) {
  UniqueFd file = open();
  pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    channel.forget();  // the parent's
    Channel own;
    if (own.connect(server.name().c_str()) != 0) ::_exit(10);
    rlimit none{0, 0};
    ::setrlimit(RLIMIT_NOFILE, &none);
    for (int i = 0; i < 20; ++i) {
      int number = -1;
      uint32_t command = i % 2 == 0 ? TestDevice::kGiveFile : TestDevice::kGiveLate;
      if (own.ioctl(cookie_of(file.get()), command, reinterpret_cast<uint64_t>(&number), {}, host) != -EMFILE) ::_exit(11);
    }
    uint64_t number = 1;
    if (own.ioctl(cookie_of(file.get()), TestDevice::kAdd, reinterpret_cast<uint64_t>(&number), {}, host) != 0) ::_exit(12);
    Channel another;
    ::_exit(another.connect(server.name().c_str()) == -EMFILE ? 0 : 13);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0);
  EXPECT_EQ(channel.stat("/dev/test", &found, host), 0);
  EXPECT_EQ(server.live_files.load(), 1);
}

TEST_F(ClientTest, AProgramThatClosedTheChannelLosesNothing) {
  UniqueFd file = open();
  // The program closes everything but its file; a number is used again for something else.
  for (int fd = 3; fd < 4096; ++fd) {
    sockaddr_un peer{};
    socklen_t length = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) != 0 || peer.sun_path[0] != '\0') continue;
    if (length <= offsetof(sockaddr_un, sun_path) + 1) continue;
    if (server.name() != std::string(peer.sun_path + 1, length - offsetof(sockaddr_un, sun_path) - 1)) continue;
    UniqueFd other(::open("/dev/null", O_RDWR | O_CLOEXEC));
    ::dup2(other.get(), fd);
    uint64_t number = 1;
    Window window{&number, sizeof number, true};
    EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number, window), kLost);
    EXPECT_EQ(number, 1u) << "a lost call has not begun";
    channel.close();
    EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "not ours any more, so not ours to close";
    ::close(fd);
    ASSERT_EQ(channel.connect(server.name().c_str()), 0);
    EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number, window), 0);
    EXPECT_EQ(number, 2u);
    return;
  }
  FAIL() << "the channel's socket was not found";
}

TEST_F(ClientTest, ACallThatAKernelTookWithItIsRepeatedAtTheNext) {
  UniqueFd file = open();
  std::thread stopper([&] {
    eventually([&] { return server.server().calls() >= 3; });  // stat, open, the ioctl
    server.stop();
  });
  int64_t result = ioctl(file.get(), TestDevice::kWait, uint64_t{0});
  stopper.join();
  EXPECT_TRUE(result == kLost || result == 0) << result << ": its answer may still have come";
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, uint64_t{0}), kLost);
  EXPECT_EQ(channel.open("/dev/test", O_RDWR, host), kLost);
  channel.close();
  server.start();
  ASSERT_EQ(channel.connect(server.name().c_str()), 0);
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, uint64_t{0}), -ENODEV) << "the file was the other kernel's";
  UniqueFd fresh = open();
  EXPECT_EQ(ioctl(fresh.get(), TestDevice::kFail, uint64_t{0}), -EDOM);
}

TEST_F(ClientTest, AKernelThatGoesAwayWhileItWaitsForTheProgramLosesTheCall) {
  UniqueFd file = open();
  uint64_t number = 1;
  program.in_copy = [&] { server.stop(); };
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &number), kLost);
  EXPECT_EQ(number, 1u);
}

TEST_F(ClientTest, ACallInTheMiddleOfACallNeedsAChannelOfItsOwn) {
  UniqueFd file = open();
  uint64_t outer = 1, inner = 10;
  int64_t inner_result = -1;
  program.in_copy = [&] {  // as a signal handler does
    Channel nested;
    ASSERT_EQ(nested.connect(server.name().c_str()), 0);
    inner_result = nested.ioctl(cookie_of(file.get()), TestDevice::kAdd, reinterpret_cast<uint64_t>(&inner), {}, host);
    nested.close();
  };
  EXPECT_EQ(ioctl(file.get(), TestDevice::kAdd, &outer), 0);
  EXPECT_EQ(inner_result, 0);
  EXPECT_EQ(outer, 2u);
  EXPECT_EQ(inner, 11u);
}

TEST_F(ClientTest, ACloseIsReleasedBeforeTheNextCall) {
  for (int round = 0; round < 1000; ++round) {
    int64_t fd = channel.open("/dev/exclusive", O_RDWR, host);
    ASSERT_GE(fd, 0) << "round " << round;
    ASSERT_EQ(channel.open("/dev/exclusive", O_RDWR, host), -EBUSY);
    ::close(static_cast<int>(fd));
  }
}

TEST_F(ClientTest, DuplicatesKeepTheFileAndTheLastCloseReleasesIt) {
  UniqueFd file = open("/dev/exclusive");
  UniqueFd duplicate(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_EQ(cookie_of(file.get()), cookie_of(duplicate.get()));
  file.reset();
  EXPECT_EQ(channel.open("/dev/exclusive", O_RDWR, host), -EBUSY);
  EXPECT_EQ(ioctl(duplicate.get(), TestDevice::kFail, uint64_t{0}), -EDOM);
  duplicate.reset();
  EXPECT_EQ(channel.stat("/dev/exclusive", &found, host), 0);
  EXPECT_EQ(server.live_exclusive.load(), 0);
}

TEST_F(ClientTest, ThreadsWithTheirOwnChannelsDoNotDisturbEachOther) {
  constexpr int kThreads = 16, kRounds = 200;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      FakeProgram mine;
      Host my_host = mine.host();
      Channel my_channel;
      if (my_channel.connect(server.name().c_str()) != 0) {
        ++wrong;
        return;
      }
      int64_t fd = my_channel.open("/dev/test", O_RDWR, my_host);
      uint64_t cookie = cookie_of(static_cast<int>(fd));
      uint64_t number = static_cast<uint64_t>(t) << 32;
      for (int i = 0; i < kRounds; ++i) {
        Window window{&number, sizeof number, true};
        if (my_channel.ioctl(cookie, TestDevice::kAdd, reinterpret_cast<uint64_t>(&number), i % 2 != 0 ? window : Window{},
                             my_host) != 0)
          ++wrong;
        int given = -1;
        if (my_channel.ioctl(cookie, TestDevice::kGiveFile, reinterpret_cast<uint64_t>(&given), {}, my_host) != 0) ++wrong;
        ::close(given);
      }
      if (number != (static_cast<uint64_t>(t) << 32) + kRounds) ++wrong;
      ::close(static_cast<int>(fd));
      my_channel.close();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(ClientTest, NothingIsLeftOfAThousandClients) {
  size_t before = descriptors_in_use();
  for (int i = 0; i < 1000; ++i) {
    Channel another;
    ASSERT_EQ(another.connect(server.name().c_str()), 0);
    ASSERT_EQ(another.stat("/dev/test", &found, host), 0);
    another.close();
  }
  EXPECT_TRUE(eventually([&] { return descriptors_in_use() <= before; })) << descriptors_in_use() << ", want " << before;
}

TEST(Connect, NoKernelIsRefused) {
  Channel channel;
  EXPECT_EQ(channel.connect("causeway-test/nobody"), -ECONNREFUSED);
  EXPECT_EQ(channel.connect(""), -EINVAL);
  EXPECT_EQ(channel.connect(std::string(200, 'x').c_str()), -EINVAL);
  EXPECT_FALSE(channel.connected());
  Host host{};
  EXPECT_EQ(channel.open("/dev/test", 0, host), kLost);
  channel.close();
}

}  // namespace
}  // namespace causeway::client
