// Clients that do not keep to the protocol. Whatever they do, the server serves others and keeps nothing of them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>

#include <random>

#include "base/mapping.h"
#include "server/testing/test_server.h"
#include "server/wire.h"

namespace causeway::server {
namespace {

using testing::descriptors_in_use;
using testing::eventually;
using testing::TestDevice;
using testing::TestServer;
using wire::Op;

void send_with_fds(int socket, const void* bytes, size_t size, const std::vector<int>& fds, int flags = 0) {
  iovec part{const_cast<void*>(bytes), size};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ::sendmsg(socket, &message, MSG_NOSIGNAL | flags);
}

// A client that has said Hello and now does as it likes with its page.
struct RawClient {
  UniqueFd socket;
  Mapping memory;
  wire::Page* page = nullptr;

  static RawClient connect(const TestServer& server) {
    RawClient client;
    client.socket = server.connect();
    wire::Hello hello;
    ::send(client.socket.get(), &hello, sizeof hello, MSG_NOSIGNAL);
    wire::Welcome welcome{};
    UniqueFd memory = client.receive(&welcome, sizeof welcome);
    auto mapping = Mapping::shared(memory.get(), 0, 4096);
    if (mapping) {
      client.memory = std::move(*mapping);
      client.page = client.memory.at<wire::Page>(0);
    }
    return client;
  }
  UniqueFd receive(void* bytes, size_t size, int flags = 0) const {
    iovec part{bytes, size};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC | flags) < 0) return {};
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return {};
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return UniqueFd(fd);
  }
  void pass() {
    page->turn.store(wire::Turn::kKernel);
    wire::Signal wake = wire::Signal::kWake;
    ::send(socket.get(), &wake, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  bool wait() const {
    return eventually([&] { return page->turn.load() != wire::Turn::kKernel; }) &&
           page->turn.load() == wire::Turn::kClient;
  }
  void request(Op op, uint64_t cookie, uint32_t command, uint64_t address, uint32_t length) {
    page->message.op = op;
    page->message.cookie = cookie;
    page->message.command = command;
    page->message.address = address;
    page->message.length = length;
    page->message.flags = 0;
  }
  // A file of the test device; `end` keeps it open.
  uint64_t open(UniqueFd* end) {
    request(Op::kOpen, 0, 0, 0, 9);
    std::memcpy(page->message.payload, "/dev/test", 9);
    pass();
    if (!wait() || page->message.op != Op::kGiveFd) return 0;
    wire::Signal signal;
    while (!*end) *end = receive(&signal, 1);
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    ::getsockopt(end->get(), SOL_SOCKET, SO_COOKIE, &cookie, &length);
    answer(end->get());
    return wait() ? cookie : 0;
  }
  void answer(int64_t result) {
    page->message.op = Op::kAnswer;
    page->message.result = result;
    pass();
  }
};

class HostileClient : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server.runs());
    before = descriptors_in_use();
  }
  void TearDown() override {
    RawClient honest = RawClient::connect(server);
    ASSERT_NE(honest.page, nullptr) << "others are served";
    UniqueFd end;
    EXPECT_NE(honest.open(&end), 0u);
    honest = {};
    end.reset();
    EXPECT_TRUE(server.is_idle());
    EXPECT_TRUE(eventually([&] { return descriptors_in_use() <= before; })) << descriptors_in_use() << ", want " << before;
  }

  TestServer server;
  size_t before = 0;
};

TEST_F(HostileClient, AnotherVersionIsToldSo) {
  for (wire::Hello hello : {wire::Hello{wire::kMagic, wire::kVersion + 1}, wire::Hello{0x12345678, wire::kVersion}}) {
    UniqueFd socket = server.connect();
    ::send(socket.get(), &hello, sizeof hello, 0);
    wire::Welcome welcome{};
    EXPECT_EQ(::recv(socket.get(), &welcome, sizeof welcome, 0), static_cast<ssize_t>(sizeof welcome));
    EXPECT_EQ(welcome.error, EPROTO);
    EXPECT_EQ(::recv(socket.get(), &welcome, sizeof welcome, 0), 0);
  }
}

TEST_F(HostileClient, AHelloOfAnySizeAndContent) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    UniqueFd socket = server.connect();
    std::vector<uint8_t> bytes(random() % 64);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    send_with_fds(socket.get(), bytes.data(), bytes.size(), i % 3 == 0 ? std::vector<int>{0, 1, 2} : std::vector<int>{});
  }
}

TEST_F(HostileClient, ConnectionsThatSayNothing) {
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < 100; ++i) sockets.push_back(server.connect());
}

TEST_F(HostileClient, RandomBytesInThePageAndOnTheSocket) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    RawClient client = RawClient::connect(server);
    ASSERT_NE(client.page, nullptr);
    UniqueFd end;
    if (i % 2 == 0) client.open(&end);
    for (int step = 0; step < 10; ++step) {
      for (size_t at = 0; at < sizeof(wire::Message); at += 4) {
        uint32_t word = random();
        std::memcpy(reinterpret_cast<char*>(&client.page->message) + at, &word, 4);
      }
      if (random() % 2 == 0) client.page->message.op = static_cast<Op>(random() % 50);
      uint32_t byte = random();
      ::send(client.socket.get(), &byte, random() % 5, MSG_NOSIGNAL | MSG_DONTWAIT);
      client.pass();
    }
  }
}

TEST_F(HostileClient, HugeLengthsAreCutDown) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  ASSERT_NE(cookie, 0u);
  for (Op op : {Op::kOpen, Op::kIoctl, Op::kStat}) {
    for (uint32_t length : {uint32_t{wire::kPayload} + 1, 0x7fffffffu, 0xffffffffu}) {
      client.request(op, cookie, TestDevice::kFail, 0, length);
      client.pass();
      ASSERT_TRUE(client.wait());
      EXPECT_EQ(client.page->message.op, Op::kDone);
      EXPECT_LT(client.page->message.result, 0);
    }
  }
  // An answer that claims more than was asked for.
  client.request(Op::kIoctl, cookie, TestDevice::kAdd, 0x10000, 0);
  client.pass();
  ASSERT_TRUE(client.wait());
  ASSERT_EQ(client.page->message.op, Op::kCopyIn);
  client.page->message.length = 0xffffffff;
  client.answer(0);
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.page->message.result, -EFAULT);
}

TEST_F(HostileClient, AWindowAtTheEndOfTheAddressSpaceDoesNotWrap) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  client.request(Op::kIoctl, cookie, TestDevice::kAdd, ~uint64_t{0} - 3, 4);
  client.pass();
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.page->message.op, Op::kCopyIn) << "the window has 4 bytes of the 8";
}

TEST_F(HostileClient, ARequestWhereAnAnswerIsDueFailsTheCall) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  client.request(Op::kIoctl, cookie, TestDevice::kAdd, 0x10000, 0);
  client.pass();
  ASSERT_TRUE(client.wait());
  client.request(Op::kStat, 0, 0, 0, 0);
  client.pass();
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.page->message.op, Op::kDone);
  EXPECT_EQ(client.page->message.result, -EPROTO);
}

TEST_F(HostileClient, TurnFlipsWhileTheKernelWorks) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  client.request(Op::kIoctl, cookie, TestDevice::kFail, 0, 0);
  for (int i = 0; i < 20000; ++i) {
    client.page->turn.store(i % 2 == 0 ? wire::Turn::kKernel : wire::Turn::kClient);
    client.page->client_sleeps.store(static_cast<uint32_t>(i));
  }
  client.page->turn.store(static_cast<wire::Turn>(77));
}

TEST_F(HostileClient, LeavingInTheMiddleOfACall) {
  for (uint32_t command : {TestDevice::kAdd, TestDevice::kGiveFile, TestDevice::kTakeFd, TestDevice::kGiveAndFail}) {
    RawClient client = RawClient::connect(server);
    UniqueFd end;
    uint64_t cookie = client.open(&end);
    client.request(Op::kIoctl, cookie, command, 0x10000, 0);
    client.pass();
    ASSERT_TRUE(client.wait());
    EXPECT_NE(client.page->message.op, Op::kDone) << command;
  }
}

TEST_F(HostileClient, LeavingWhileTheKernelWorks) {
  {
    RawClient client = RawClient::connect(server);
    UniqueFd end;
    uint64_t cookie = client.open(&end);
    client.request(Op::kIoctl, cookie, TestDevice::kWait, 0, 0);
    client.pass();
    ASSERT_TRUE(eventually([&] { return server.server().calls() == 2; }));
  }
  server.device->go_on.store(true);
  server.device->go_on.notify_all();
}

TEST_F(HostileClient, AnAnswerWithoutTheDescriptorIsEbadf) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  client.request(Op::kIoctl, cookie, TestDevice::kTakeFd, 0, 0);
  client.pass();
  ASSERT_TRUE(client.wait());
  ASSERT_EQ(client.page->message.op, Op::kTakeFd);
  client.answer(0);
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.page->message.result, -EBADF);
}

TEST_F(HostileClient, AFloodOfDescriptorsIsNotKept) {
  RawClient client = RawClient::connect(server);
  std::vector<int> four(4, STDERR_FILENO);
  wire::Signal signal = wire::Signal::kDescriptor;
  size_t mine = descriptors_in_use();
  for (int i = 0; i < 2000; ++i) send_with_fds(client.socket.get(), &signal, 1, four, MSG_DONTWAIT);
  // Messages are still read until the queue is empty; then nothing of them is left but a few.
  EXPECT_TRUE(eventually([&] {
    pollfd room{client.socket.get(), POLLOUT, 0};
    return ::poll(&room, 1, 0) == 1 && descriptors_in_use() <= mine + 8;
  })) << descriptors_in_use() << " descriptors, had " << mine;
}

TEST_F(HostileClient, APassedEndOfAnotherClientIsThatFile) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  RawClient other = RawClient::connect(server);
  other.request(Op::kIoctl, cookie, TestDevice::kTakeFd, 5, 0);
  other.pass();
  ASSERT_TRUE(other.wait());
  wire::Signal signal = wire::Signal::kDescriptor;
  send_with_fds(other.socket.get(), &signal, 1, {end.get()});
  other.answer(0);
  ASSERT_TRUE(other.wait());
  EXPECT_EQ(other.page->message.result, 1);
}

TEST_F(HostileClient, AStoppedClientDoesNotHoldUpTheEndOfTheServer) {
  RawClient client = RawClient::connect(server);
  UniqueFd end;
  uint64_t cookie = client.open(&end);
  client.request(Op::kIoctl, cookie, TestDevice::kAdd, 0x10000, 0);
  client.pass();
  ASSERT_TRUE(client.wait());
  server.stop();
  EXPECT_EQ(client.page->turn.load(), wire::Turn::kClosed);
  server.start();
}

}  // namespace
}  // namespace causeway::server
