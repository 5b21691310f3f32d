// The scenarios of Linux' own test program for /dev/liveupdate (tools/testing/selftests/liveupdate), with memfds of
// the host, and one update that carries them over.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "file/native_file.h"
#include "uapi/testing/client.h"

namespace causeway::uapi::testing {
namespace {

using luo::FileArgs;
using luo::testing::LuoSystem;

// Keeps memfds across the update by holding their descriptors in this process.
class HeldMemory : public luo::FileHandler {
 public:
  const char* compatible() const override { return "held-memory-v1"; }
  bool can_preserve(const file::FileRef& file) override {
    auto* native = dynamic_cast<const file::NativeFile*>(file.get());
    return native != nullptr && native->is_memory();
  }
  luo::FileId id(const file::FileRef& file) const override {
    const file::Identity identity = static_cast<const file::NativeFile&>(*file).identity();
    return {identity.device, identity.inode};
  }
  Status preserve(FileArgs& args) override {
    args.serialized_data = id(args.file).low;
    held[args.serialized_data] = args.file;
    return {};
  }
  void unpreserve(FileArgs& args) override { held.erase(args.serialized_data); }
  Status retrieve(FileArgs& args) override {
    args.file = held.at(args.serialized_data);
    return {};
  }
  void finish(FileArgs& args) override { held.erase(args.serialized_data); }

  std::map<uint64_t, file::FileRef> held;
};

class Scenario : public ::testing::Test {
 protected:
  Scenario() {
    must(system.luo().register_handler(memory));
    client = std::make_unique<Client>(system.luo());
  }
  int memfd(std::string_view content) {
    UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
    EXPECT_EQ(::write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
    return client->task.add(must(file::NativeFile::wrap(std::move(fd))));
  }
  std::string content(int fd) {
    const auto native = std::dynamic_pointer_cast<file::NativeFile>(client->task.file(fd));
    char buffer[256];
    const ssize_t got = native == nullptr ? -1 : ::pread(native->fd(), buffer, sizeof(buffer), 0);
    return got < 0 ? "?" : std::string(buffer, static_cast<size_t>(got));
  }
  int create(std::string_view name) {
    int fd = -1;
    EXPECT_EQ(client->create(name, &fd), 0) << name;
    return fd;
  }
  int retrieve(std::string_view name) {
    int fd = -1;
    EXPECT_EQ(client->retrieve(name, &fd), 0) << name;
    return fd;
  }
  void update() {
    system.kexec({.deserialize = false});
    must(system.luo().register_handler(memory));
    client = std::make_unique<Client>(system.luo());
    ASSERT_EQ(client->open(), 0);
  }

  HeldMemory memory;
  LuoSystem system;
  std::unique_ptr<Client> client;
};

TEST_F(Scenario, BasicOpenClose) {
  EXPECT_EQ(client->open(), 0);
  client->close(client->control);
}

TEST_F(Scenario, ExclusiveOpen) {
  EXPECT_EQ(client->open(), 0);
  EXPECT_EQ(client->open(), EBUSY);
}

TEST_F(Scenario, CreateDuplicateSession) {
  client->open();
  create("duplicate");
  int fd = -1;
  EXPECT_EQ(client->create("duplicate", &fd), EEXIST);
}

TEST_F(Scenario, CreateDistinctSessions) {
  client->open();
  const int one = create("one");
  const int two = create("two");
  client->close(one);
  client->close(two);
  EXPECT_EQ(system.luo().stats().outgoing_sessions, 0u);
}

TEST_F(Scenario, PreserveMemfd) {
  client->open();
  const int session = create("memfd");
  const int fd = memfd("hello world 1234");
  EXPECT_EQ(client->preserve(session, fd, 0x1234), 0);
  client->close(session);
  EXPECT_EQ(content(fd), "hello world 1234");
}

TEST_F(Scenario, PreserveMultipleMemfds) {
  client->open();
  const int session = create("several");
  const int one = memfd("first"), two = memfd("second");
  EXPECT_EQ(client->preserve(session, one, 0xAAAA), 0);
  EXPECT_EQ(client->preserve(session, two, 0xBBBB), 0);
  EXPECT_EQ(content(one), "first");
  EXPECT_EQ(content(two), "second");
}

TEST_F(Scenario, PreserveComplexScenario) {
  client->open();
  const int a = create("complex a"), b = create("complex b");
  const int data_a = memfd("data a"), empty_a = memfd(""), data_b = memfd("data b"), empty_b = memfd("");
  EXPECT_EQ(client->preserve(a, data_a, 0x1111), 0);
  EXPECT_EQ(client->preserve(a, empty_a, 0x2222), 0);
  EXPECT_EQ(client->preserve(b, data_b, 0x3333), 0);
  EXPECT_EQ(client->preserve(b, empty_b, 0x4444), 0);
  EXPECT_EQ(content(data_a), "data a");
  EXPECT_EQ(content(data_b), "data b");
  EXPECT_EQ(content(empty_a) + content(empty_b), "");
}

TEST_F(Scenario, PreserveUnsupportedFd) {
  client->open();
  const int session = create("unsupported");
  const int null = client->task.add(must(file::NativeFile::wrap(UniqueFd(::open("/dev/null", O_RDWR)))));
  EXPECT_EQ(client->preserve(session, null, 0xDEAD), ENOENT);
}

TEST_F(Scenario, PreventDoublePreservation) {
  client->open();
  const int a = create("a"), b = create("b");
  const int fd = memfd("once");
  EXPECT_EQ(client->preserve(a, fd, 1), 0);
  EXPECT_EQ(client->preserve(b, fd, 1), EBUSY);
  EXPECT_EQ(client->preserve(a, fd, 2), EBUSY);
  // Another descriptor of the same file is the same file.
  const auto native = std::dynamic_pointer_cast<file::NativeFile>(client->task.file(fd));
  const int again = client->task.add(must(file::NativeFile::wrap(UniqueFd(::dup(native->fd())))));
  EXPECT_EQ(client->preserve(b, again, 1), EBUSY);
}

TEST_F(Scenario, CreateSessionNoNullTermination) {
  client->open();
  int fd = -1;
  EXPECT_EQ(client->create(std::string(64, 'X'), &fd), EINVAL);
}

TEST_F(Scenario, CreateSessionEmptyName) {
  client->open();
  int fd = -1;
  EXPECT_EQ(client->create("", &fd), EINVAL);
}

TEST_F(Scenario, GetSessionName) {
  client->open();
  EXPECT_EQ(client->name_of(create("get name")), "get name");
}

TEST_F(Scenario, GetSessionNameMaxLength) {
  client->open();
  EXPECT_EQ(client->name_of(create(std::string(63, 'X'))), std::string(63, 'X'));
}

TEST_F(Scenario, PreserveManySessions) {
  client->open();
  std::vector<int> fds;
  for (int i = 0; i < 2000; ++i) fds.push_back(create("many " + std::to_string(i)));
  for (int fd : fds) client->close(fd);
  EXPECT_EQ(system.luo().stats().outgoing_sessions, 0u);
}

TEST_F(Scenario, PreserveManyFiles) {
  client->open();
  const int session = create("many files");
  for (uint64_t token = 0; token < 500; ++token) ASSERT_EQ(client->preserve(session, memfd("x"), token), 0);
  EXPECT_EQ(memory.held.size(), 500u);
}

// The programs of two stages: luo_kexec_simple, luo_multi_session, luo_stress_files, luo_stress_sessions.
TEST_F(Scenario, SeveralSessionsOverAnUpdate) {
  client->open();
  create("empty 1"), create("empty 2");
  EXPECT_EQ(client->preserve(create("one"), memfd("hello kexec world"), 0x1001), 0);
  const int two = create("two");
  EXPECT_EQ(client->preserve(two, memfd("second"), 0x2002), 0);
  EXPECT_EQ(client->preserve(two, memfd("third"), 0x3003), 0);
  client->close(client->control);  // sessions outlive the device's file
  update();
  int fd = -1;
  EXPECT_EQ(client->retrieve_fd(retrieve("one"), 0x1001, &fd), 0);
  EXPECT_EQ(content(fd), "hello kexec world");
  const int again = retrieve("two");
  EXPECT_EQ(client->retrieve_fd(again, 0x3003, &fd), 0);
  EXPECT_EQ(content(fd), "third");
  EXPECT_EQ(client->retrieve_fd(again, 0x2002, &fd), 0);
  EXPECT_EQ(content(fd), "second");
  for (const char* name : {"empty 1", "empty 2"}) EXPECT_EQ(client->finish(retrieve(name)), 0);
  EXPECT_EQ(client->finish(again), 0);
  EXPECT_EQ(content(fd), "second");  // the client's own reference
}

TEST_F(Scenario, ThousandsOfSessionsAndFilesOverAnUpdate) {
  client->open();
  const int files = create("files");
  for (uint64_t token = 0; token < 500; ++token)
    ASSERT_EQ(client->preserve(files, memfd(std::to_string(token)), token), 0);
  for (int i = 0; i < 2000; ++i) create("many " + std::to_string(i));
  update();
  const int again = retrieve("files");
  for (uint64_t token = 0; token < 500; ++token) {
    int fd = -1;
    ASSERT_EQ(client->retrieve_fd(again, token, &fd), 0);
    ASSERT_EQ(content(fd), std::to_string(token));
    client->close(fd);
  }
  EXPECT_EQ(client->finish(again), 0);
  for (int i = 0; i < 2000; ++i) {
    const int fd = retrieve("many " + std::to_string(i));
    ASSERT_EQ(client->finish(fd), 0);
    client->close(fd);
  }
  EXPECT_EQ(system.luo().stats().incoming_sessions, 1u);
  client->close(again);
  EXPECT_EQ(system.unrestored(), 0u);
}

}  // namespace
}  // namespace causeway::uapi::testing
