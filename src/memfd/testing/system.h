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
#include "kho/kho.h"
#include "machine/machine.h"
#include "memfd/client_memory.h"
#include "memfd/frozen_files.h"
#include "memfd/memfd_handler.h"
#include "mm/boot_memory.h"
#include "mm/page_allocator.h"
#include "mm/vmalloc.h"
#include "platform/platform.h"

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
    must(kho().commit(platform().mailbox(), kind, platform().generation()));
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
  platform::Platform& platform() { return *kernel_.platform; }
  kho::Kho& kho() { return *kernel_.kho; }
  mm::PageAllocator& pages() { return *kernel_.pages; }
  mm::MemMap& map() { return *kernel_.map; }
  mm::Vmalloc& vmalloc() { return *kernel_.vmalloc; }
  ClientMemory& memory() { return *kernel_.memory; }
  FrozenFiles& frozen() { return *kernel_.frozen; }
  MemfdHandler& handler() { return *kernel_.handler; }

  uint64_t free_pages() {
    pages().drain_per_cpu_lists();
    uint64_t total = 0;
    for (const mm::ZoneStats& zone : pages().stats().zone) total += zone.free_pages;
    return total;
  }
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
    std::unique_ptr<platform::Platform> platform;
    std::optional<mm::MemMap> map;
    std::optional<mm::BootMemory> boot;
    std::unique_ptr<kho::Kho> kho;
    std::unique_ptr<mm::PageAllocator> pages;
    std::unique_ptr<mm::Vmalloc> vmalloc;
    std::unique_ptr<ClientMemory> memory;
    std::unique_ptr<FrozenFiles> frozen;
    std::unique_ptr<MemfdHandler> handler;
  };

  void boot() {
    Kernel& k = kernel_;
    k.platform = must(platform::Platform::attach(machine_->connect()));
    k.map.emplace(must(mm::MemMap::create(k.platform->direct_map())));
    k.boot.emplace();
    for (const platform::RamRange& ram : k.platform->ram())
      must(ram.hot_added ? k.boot->add_client({ram.base, ram.size}) : k.boot->add({ram.base, ram.size}));
    must(k.boot->reserve({PhysAddr{0}, MiB(1)}));
    kho::KhoParams params{.release = "test"};
    params.scratch = {.absolute = true, .low = MiB(4), .global = MiB(8)};
    k.kho = must(kho::Kho::create(*k.map, params));
    must(k.kho->early_init(*k.boot, k.platform->mailbox().current()));
    k.pages = must(mm::PageAllocator::create(*k.map));
    k.pages->take_over(*k.boot);
    k.vmalloc = std::make_unique<mm::Vmalloc>(*k.pages, *k.platform);
    must(k.kho->init(*k.pages, *k.vmalloc));
    k.memory = std::make_unique<ClientMemory>(*k.platform, *k.pages, *k.kho);
    k.frozen = std::make_unique<FrozenFiles>();
    k.handler = std::make_unique<MemfdHandler>(*k.memory, *k.frozen, *k.kho, *k.vmalloc);
  }

  // Latest first; nothing is given back.
  void die() {
    Kernel& k = kernel_;
    k.memory->abandon();
    k = {};
  }

  std::unique_ptr<machine::Machine> machine_;
  Kernel kernel_;
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
