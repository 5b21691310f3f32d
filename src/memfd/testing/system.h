// For tests: a machine, and one kernel after another on it, as far as memfds need one.
//
//   System system;
//   FileArgs args = preserve(system, memfd("hello"));
//   uint64_t record = freeze(system, args);
//   system.kexec();
//   FileArgs again = must(retrieve(system, record));
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/testing/results.h"
#include "file/native_file.h"
#include "kho/testing/kernel_memory.h"
#include "machine/machine.h"
#include "memfd/client_memory.h"
#include "memfd/frozen_files.h"
#include "memfd/memfd_handler.h"

namespace causeway::memfd::testing {

class System {
 public:
  System() : machine_(must(machine::Machine::create({.ram = MiB(64), .devices = {}}))) { boot(); }
  ~System() { die(); }

  // An orderly live update.
  void kexec() {
    commit(hw::HandoverKind::kOrderly);
    crash();
  }
  void commit(hw::HandoverKind kind = hw::HandoverKind::kStanding) {
    kernel_->memory.commit(kind);
  }
  // The next kernel finds what was published last, and boots.
  void crash() {
    die();
    boot();
    commit();
    memory().drop_unused();
  }
  // The same, but the new kernel has not yet replaced the old handover.
  void kexec_without_commit() {
    commit(hw::HandoverKind::kOrderly);
    die();
    boot();
  }
  void cold_boot() {
    platform().mailbox().erase();
    crash();
  }

  machine::Machine& machine() { return *machine_; }
  platform::Platform& platform() { return *kernel_->memory.platform; }
  kho::Kho& kho() { return *kernel_->memory.kho; }
  mm::PageAllocator& pages() { return *kernel_->memory.pages; }
  mm::MemMap& map() { return kernel_->memory.map; }
  mm::Vmalloc& vmalloc() { return *kernel_->memory.vmalloc; }
  ClientMemory& memory() { return kernel_->client_memory; }
  FrozenFiles& frozen() { return kernel_->frozen; }
  MemfdHandler& handler() { return kernel_->handler; }

  uint64_t free_pages() { return kernel_->memory.free_pages(); }
  uint64_t machine_regions() {
    uint64_t hot_added = 0;
    for (const platform::RamRange& range : platform().ram()) hot_added += range.hot_added;
    return hot_added;
  }
  template <typename T>
  T* at(uint64_t phys) {
    return map().direct_map().to_virt<T>(PhysAddr(phys));
  }

 private:
  struct Kernel {
    explicit Kernel(UniqueFd control) : memory(std::move(control)) {}
    kho::testing::KernelMemory memory;
    ClientMemory client_memory{*memory.platform, *memory.pages, *memory.kho};
    FrozenFiles frozen;
    MemfdHandler handler{client_memory, frozen, *memory.kho, *memory.vmalloc};
  };

  void boot() { kernel_.emplace(machine_->connect()); }
  // Latest first; nothing is given back.
  void die() {
    kernel_->client_memory.abandon();
    kernel_.reset();
  }

  std::unique_ptr<machine::Machine> machine_;
  std::optional<Kernel> kernel_;
};

// -- A client's files.

inline UniqueFd make_memfd(uint64_t size, unsigned flags = MFD_ALLOW_SEALING) {
  UniqueFd fd(::memfd_create("client", MFD_CLOEXEC | flags));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) std::abort();
  return fd;
}
inline UniqueFd duplicate(const UniqueFd& fd) { return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }
inline std::shared_ptr<file::NativeFile> open_file(const UniqueFd& fd) {
  return must(file::NativeFile::wrap(duplicate(fd)));
}
// What a page of a file holds, so that pages in the wrong place are noticed.
inline uint64_t pattern(uint64_t seed, uint64_t page) { return seed * 0x9e3779b97f4a7c15 + page + 1; }
inline void fill(int fd, uint64_t seed, uint64_t first, uint64_t pages) {
  for (uint64_t page = first; page < first + pages; ++page) {
    const uint64_t word = pattern(seed, page);
    if (::pwrite(fd, &word, sizeof word, static_cast<off_t>(page * kPageSize + page % 100 * 8)) != sizeof word) std::abort();
  }
}
inline bool is_filled(int fd, uint64_t seed, uint64_t first, uint64_t pages) {
  for (uint64_t page = first; page < first + pages; ++page) {
    uint64_t word = 0;
    if (::pread(fd, &word, sizeof word, static_cast<off_t>(page * kPageSize + page % 100 * 8)) != sizeof word) return false;
    if (word != pattern(seed, page)) return false;
  }
  return true;
}
inline struct stat stat_of(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) std::abort();
  return info;
}

// -- What a session does with one file.

inline luo::FileArgs preserve(System& system, const UniqueFd& fd) {
  luo::FileArgs args;
  args.file = open_file(fd);
  must(system.handler().preserve(args));
  return args;
}
inline uint64_t freeze(System& system, luo::FileArgs& args) {
  must(system.handler().freeze(args));
  return args.serialized_data;
}
struct Retrieved {
  luo::FileArgs args;
  Status status;
  int fd() const { return static_cast<file::NativeFile&>(*args.file).fd(); }
};
inline Retrieved retrieve(System& system, uint64_t record) {
  Retrieved result;
  result.args.serialized_data = record;
  result.status = system.handler().retrieve(result.args);
  result.args.retrieve_status = result.status ? luo::RetrieveStatus::kRetrieved : luo::RetrieveStatus::kFailed;
  return result;
}

}  // namespace causeway::memfd::testing
