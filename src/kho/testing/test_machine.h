// A machine's memory and mailbox, and generations of a kernel's memory system on it, for tests and
// benchmarks. A generation that is destroyed, or killed in a forked process, leaves the memory as it was.
//
//   TestMachine machine;
//   {
//     Generation first(machine);
//     first.kho->preserve_pages(page, 8);
//     first.commit();
//   }
//   Generation second(machine);              // a KHO boot
//   second.kho->restore_pages(phys, 8);
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "kho/kho.h"
#include "platform/direct_map.h"

namespace causeway::kho {

// Ends the program: a test or benchmark cannot go on without what it stands on.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "test machine: not so: %s\n", what);
  std::abort();
}

class TestMachine {
 public:
  // 32 MiB below and 32 MiB above 4 GiB.
  explicit TestMachine(std::vector<mm::MemRange> ram = {{PhysAddr(0), MiB(32)}, {PhysAddr(GiB(4)), MiB(32)}})
      : ram_(std::move(ram)), fd_(::memfd_create("test ram", MFD_CLOEXEC)) {
    uint64_t offset = 0;
    for (const mm::MemRange& range : ram_) {
      require(::ftruncate(fd_.get(), static_cast<off_t>(offset + range.size)) == 0, "ftruncate");
      require(map_.map(range.base, range.size, fd_.get(), offset).has_value(), "map RAM");
      offset += range.size;
    }
    void* shared = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(shared != MAP_FAILED, "map the mailbox");
    box_ = static_cast<hw::KexecMailbox*>(shared);
  }
  ~TestMachine() { ::munmap(box_, kPageSize); }
  TestMachine(const TestMachine&) = delete;
  TestMachine& operator=(const TestMachine&) = delete;

  const platform::DirectMap& direct_map() const { return map_; }
  const std::vector<mm::MemRange>& ram() const { return ram_; }
  // From now on these ranges, which are whole entries of ram(), are a client's.
  void give_to_client(PhysAddr base) { client_.push_back(base); }
  bool is_client(PhysAddr base) const { return std::find(client_.begin(), client_.end(), base) != client_.end(); }
  platform::Mailbox mailbox() { return platform::Mailbox(box_); }
  template <typename T>
  T* at(PhysAddr address) const {
    return map_.to_virt<T>(address);
  }
  Result<mm::PageBacking> backing(PhysAddr address) const {
    uint64_t offset = 0;
    for (const mm::MemRange& range : ram_) {
      if (range.base <= address && address < range.end())
        return mm::PageBacking{fd_.get(), offset + (address - range.base), range.end() - address};
      offset += range.size;
    }
    return fail(EINVAL, "no RAM there");
  }

 private:
  std::vector<mm::MemRange> ram_;
  std::vector<PhysAddr> client_;
  UniqueFd fd_;
  platform::DirectMap map_ = *platform::DirectMap::create(GiB(8));
  hw::KexecMailbox* box_ = nullptr;
};

inline KhoParams test_params(Format format = Format::kV4) {
  return {.scratch = {.absolute = true, .low = MiB(4), .global = MiB(4)},
          .format = format,
          .release = "7.3.4-test"};
}

class Generation {
 public:
  explicit Generation(TestMachine& machine, KhoParams params = test_params(), bool use_mailbox = true)
      : mailbox(machine.mailbox()), map(*mm::MemMap::create(machine.direct_map())) {
    for (const mm::MemRange& range : machine.ram())
      require((machine.is_client(range.base) ? boot.add_client(range) : boot.add(range)).has_value(), "add RAM");
    kho = *Kho::create(map, params);
    auto adopted = kho->early_init(boot, use_mailbox ? mailbox.current() : std::nullopt);
    require(adopted.has_value(), "early_init()");
    adopted_handover = *adopted;
    allocator = *mm::PageAllocator::create(map);
    allocator->take_over(boot);
    vmalloc =
        std::make_unique<mm::Vmalloc>(*allocator, [&machine](PhysAddr at) { return machine.backing(at); });
    initialised = kho->init(*allocator, *vmalloc);
  }

  // Publishes, as the kernel does when its drivers have restored what is theirs.
  void commit(hw::HandoverKind kind = hw::HandoverKind::kStanding) {
    require(kho->commit(mailbox, kind, 1).has_value(), "commit()");
  }
  mm::Page* alloc(Order order) { return *allocator->alloc_pages(order, mm::kGfpKernel); }
  mm::Page* page(PhysAddr address) const { return map.page(address); }
  PhysAddr phys(const void* pointer) const { return map.direct_map().to_phys(pointer); }
  mm::FrameState state(PhysAddr address) const { return allocator->state(Pfn::containing(address)); }
  uint64_t managed_pages() const {
    const mm::PageStats stats = allocator->stats();
    return stats.zone[0].managed_pages + stats.zone[1].managed_pages;
  }
  // No page was freed in a wrong state.
  void expect_sound() const {
    require(!allocator->stats().tainted && allocator->stats().bad_pages == 0,
            "no page freed in a wrong state");
  }

  platform::Mailbox mailbox;
  mm::BootMemory boot;
  mm::MemMap map;
  std::unique_ptr<Kho> kho;
  std::unique_ptr<mm::PageAllocator> allocator;
  std::unique_ptr<mm::Vmalloc> vmalloc;
  bool adopted_handover = false;
  Status initialised;
};

// What the bytes of a page at this address are to be.
inline void fill(TestMachine& machine, PhysAddr phys, uint64_t pages, uint64_t seed) {
  for (uint64_t i = 0; i < pages * kPageSize / 8; ++i)
    machine.at<uint64_t>(phys)[i] = seed * 0x9e3779b97f4a7c15 + i;
}
inline bool is_filled(TestMachine& machine, PhysAddr phys, uint64_t pages, uint64_t seed) {
  for (uint64_t i = 0; i < pages * kPageSize / 8; ++i)
    if (machine.at<uint64_t>(phys)[i] != seed * 0x9e3779b97f4a7c15 + i) return false;
  return true;
}

}  // namespace causeway::kho
