// A client in this process: its memory is ours, its descriptor table a map. For tests and for programs that
// use a kernel without a process border.
//
//   LocalTask task;
//   int fd = task.add(memfd_file);
//   task.forbid_writes(&request);              // copy_to_user() there is EFAULT
//   CW_TRY(device->ioctl(task, LIVEUPDATE_IOCTL_CREATE_SESSION, address_of(&request)));
#pragma once

#include <cstring>
#include <map>
#include <set>

#include "file/task.h"

namespace causeway::file::testing {

inline UserAddr address_of(const void* pointer) { return UserAddr(reinterpret_cast<uintptr_t>(pointer)); }

class LocalTask : public Task {
 public:
  Status copy_from_user(std::span<std::byte> to, UserAddr from) override {
    if (from.value() < kPageSize || unreadable_.contains(from.value())) return fail(EFAULT, "not readable");
    std::memcpy(to.data(), reinterpret_cast<const void*>(from.value()), to.size());
    return {};
  }
  Status copy_to_user(UserAddr to, std::span<const std::byte> from) override {
    if (to.value() < kPageSize || unwritable_.contains(to.value())) return fail(EFAULT, "not writable");
    std::memcpy(reinterpret_cast<void*>(to.value()), from.data(), from.size());
    return {};
  }
  Result<FileRef> get_file(int fd) override {
    auto it = files_.find(fd);
    if (it == files_.end()) return fail(EBADF, "not an open file");
    return it->second;
  }
  Status expect_fd() override {
    if (files_.size() >= max_files) return fail(EMFILE, "no descriptors left");
    return {};
  }
  Result<int> install_fd(FileRef file) override {
    CW_TRY(expect_fd());
    return add(std::move(file));
  }
  void uninstall_fd(int fd) override { close(fd); }

  int add(FileRef file) {
    int fd = 0;
    while (files_.contains(fd)) ++fd;
    files_.emplace(fd, std::move(file));
    return fd;
  }
  void close(int fd) { files_.erase(fd); }
  FileRef file(int fd) const {
    auto it = files_.find(fd);
    return it == files_.end() ? nullptr : it->second;
  }
  size_t open_files() const { return files_.size(); }
  // By the address the call is given.
  void forbid_writes(const void* at) { unwritable_.insert(address_of(at).value()); }
  void forbid_reads(const void* at) { unreadable_.insert(address_of(at).value()); }
  void allow_all() { unwritable_.clear(), unreadable_.clear(); }

  size_t max_files = 1 << 20;

 private:
  std::map<int, FileRef> files_;
  std::set<uint64_t> unwritable_;
  std::set<uint64_t> unreadable_;
};

}  // namespace causeway::file::testing
