// A device whose ioctls do what drivers do to a client: copy in and out, take and give descriptors. It counts its
// files, so that a test can tell that none is left.
//
//   std::atomic<int> live{0};
//   devices.add(std::make_unique<TestDevice>("/dev/test", live));
//   channel.ioctl(cookie, TestDevice::kAdd, address_of(&number), window, host);
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "file/native_file.h"
#include "uapi/device.h"

namespace causeway::server::testing {

class TestDevice : public uapi::Device {
 public:
  enum Command : uint32_t {
    kAdd = 1,       // *(uint64_t*)argument += 1
    kCopy,          // a Copy
    kGiveFile,      // *(int*)argument = a new file
    kGiveLate,      // a new file, after the client has fallen asleep
    kGiveMemory,    // *(int*)argument = a memfd of 8192 bytes
    kTakeFd,        // argument is a descriptor; result: 1 a file of ours, 2 of the host
    kGiveAndFail,   // gives a file, takes it back, ENOSPC
    kWait,          // until `go_on` is true
    kFail,          // EDOM
  };
  struct Copy {
    uint64_t from;
    uint64_t to;
    uint64_t size;
  };

  enum class Opening { kShared, kExclusive };

  TestDevice(std::string path, std::atomic<int>& live, Opening opening = Opening::kShared)
      : path_(std::move(path)), live_(live), opening_(opening) {}

  std::string_view path() const override { return path_; }
  uint32_t mode() const override { return 0640; }
  uint8_t ioctl_type() const override { return 0; }
  uint32_t minor() const override { return 77; }
  Result<file::FileRef> open(file::Task&) override {
    // `live_` is the device's "in use", as an exclusive driver would keep it.
    if (opening_ == Opening::kExclusive && live_.fetch_add(1) != 0) {
      live_.fetch_sub(1);
      return fail(EBUSY, "open already");
    }
    if (opening_ == Opening::kShared) live_.fetch_add(1);
    return std::make_shared<OpenFile>(live_, go_on);
  }

  std::atomic<bool> go_on{false};

 private:
  class OpenFile : public file::File {
   public:
    OpenFile(std::atomic<int>& live, std::atomic<bool>& go_on) : live_(live), go_on_(go_on) {}
    ~OpenFile() override { live_.fetch_sub(1); }
    std::string link_text() const override { return "anon_inode:[test]"; }

    Result<int64_t> ioctl(file::Task& task, uint32_t command, UserAddr argument) override {
      switch (command) {
        case kAdd: {
          uint64_t number = 0;
          CW_TRY(task.read(argument, &number));
          CW_TRY(task.write(argument, number + 1));
          return 0;
        }
        case kCopy: {
          Copy copy{};
          CW_TRY(task.read(argument, &copy));
          std::vector<std::byte> bytes(copy.size);
          CW_TRY(task.copy_from_user(bytes, UserAddr(copy.from)));
          CW_TRY(task.copy_to_user(UserAddr(copy.to), bytes));
          return static_cast<int64_t>(copy.size);
        }
        case kGiveLate: std::this_thread::sleep_for(std::chrono::milliseconds(5)); [[fallthrough]];
        case kGiveFile: {
          live_.fetch_add(1);
          int fd = CW_TRY(task.install_fd(std::make_shared<OpenFile>(live_, go_on_)));
          CW_TRY(task.write(argument, fd));
          return 0;
        }
        case kGiveMemory: {
          UniqueFd memory(::memfd_create("test", MFD_CLOEXEC));
          if (!memory || ::ftruncate(memory.get(), 8192) != 0) return fail_with_errno("memfd");
          int fd = CW_TRY(task.install_fd(CW_TRY(file::NativeFile::wrap(std::move(memory)))));
          CW_TRY(task.write(argument, fd));
          return 0;
        }
        case kTakeFd: {
          file::FileRef file = CW_TRY(task.get_file(static_cast<int>(argument.value())));
          return dynamic_cast<OpenFile*>(file.get()) != nullptr ? 1 : 2;
        }
        case kGiveAndFail: {
          live_.fetch_add(1);
          int fd = CW_TRY(task.install_fd(std::make_shared<OpenFile>(live_, go_on_)));
          task.uninstall_fd(fd);
          return fail(ENOSPC, "as asked for");
        }
        case kWait:
          go_on_.wait(false);
          return 0;
        default: return fail(EDOM, "as asked for");
      }
    }

   private:
    std::atomic<int>& live_;
    std::atomic<bool>& go_on_;
  };

  const std::string path_;
  std::atomic<int>& live_;
  const Opening opening_;
};

}  // namespace causeway::server::testing
