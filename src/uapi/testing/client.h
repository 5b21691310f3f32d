// A client program of /dev/liveupdate in this process: the ioctls as functions that return 0 or an errno.
//
//   Client client(system.luo());
//   ASSERT_EQ(client.open(), 0);
//   int vm = -1;
//   ASSERT_EQ(client.create("vm", &vm), 0);
//   EXPECT_EQ(client.preserve(vm, client.task.add(file), 0x1a), 0);
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "file/testing/local_task.h"
#include "luo/testing/luo_system.h"
#include "uapi/abi/liveupdate.h"
#include "uapi/liveupdate.h"

namespace causeway::uapi::testing {

using file::testing::address_of;

// A client whose memory can go bad between two copies, as that of a process with threads can.
struct ClientTask : file::testing::LocalTask {
  Status copy_from_user(std::span<std::byte> to, UserAddr from) override {
    if (reads_left == 0) return fail(EFAULT, "not readable any more");
    if (reads_left > 0) --reads_left;
    return LocalTask::copy_from_user(to, from);
  }
  int reads_left = -1;  // negative: no limit
};

class Client {
 public:
  explicit Client(luo::Orchestrator& orchestrator) : device(orchestrator) {}

  int open() {
    auto file = device.open(task);
    if (file) control = task.add(*file);
    return error_of(file);
  }
  // -EBADF as a program would get it, if there is no such descriptor.
  int ioctl(int fd, uint32_t command, void* argument) {
    file::FileRef file = task.file(fd);
    return file == nullptr ? EBADF : error_of(file->ioctl(task, command, address_of(argument)));
  }

  static abi::SessionRequest named(std::string_view name) {
    abi::SessionRequest request{.size = sizeof(request), .fd = -1, .name = {}};
    std::memcpy(request.name, name.data(), std::min(name.size(), sizeof(request.name)));
    return request;
  }
  int create(std::string_view name, int* fd) { return session(abi::kCreateSession, name, fd); }
  int retrieve(std::string_view name, int* fd) { return session(abi::kRetrieveSession, name, fd); }
  int preserve(int session_fd, int fd, uint64_t token) {
    abi::FdRequest request{sizeof(request), fd, token};
    return ioctl(session_fd, abi::kSessionPreserveFd, &request);
  }
  int retrieve_fd(int session_fd, uint64_t token, int* fd) {
    abi::FdRequest request{sizeof(request), -1, token};
    const int error = ioctl(session_fd, abi::kSessionRetrieveFd, &request);
    *fd = request.fd;
    return error;
  }
  int finish(int session_fd) {
    abi::FinishRequest request{sizeof(request), 0};
    return ioctl(session_fd, abi::kSessionFinish, &request);
  }
  std::string name_of(int session_fd) {
    abi::NameRequest request{.size = sizeof(request)};
    std::memset(request.name, 0xee, sizeof(request.name));
    return ioctl(session_fd, abi::kSessionGetName, &request) == 0 ? request.name : "?";
  }
  void close(int fd) { task.close(fd); }

  LiveUpdateDevice device;
  ClientTask task;
  int control = -1;  // the device

 private:
  int session(uint32_t command, std::string_view name, int* fd) {
    abi::SessionRequest request = named(name);
    const int error = ioctl(control, command, &request);
    *fd = request.fd;
    return error;
  }
};

}  // namespace causeway::uapi::testing
