// For tests: the memory of one boot of a kernel on a machine, up to the page allocator and KHO; what every kernel that is
// made for a test stands on.
//
//   KernelMemory memory(machine.connect());
//   memory.commit();
//   memory.pages->alloc_pages(...);
//
// Destroying it is the kernel's death: nothing is given back, and the next one finds what was committed.
#pragma once

#include <memory>
#include <utility>

#include "base/testing/results.h"
#include "base/unique_fd.h"
#include "kho/kho.h"
#include "mm/boot_memory.h"
#include "mm/page_allocator.h"
#include "mm/vmalloc.h"
#include "platform/platform.h"

namespace causeway::kho::testing {

struct KernelMemory {
  explicit KernelMemory(UniqueFd control, KhoParams params = {.release = "test"})
      : platform(must(platform::Platform::attach(std::move(control)))),
        map(must(mm::MemMap::create(platform->direct_map()))) {
    for (const platform::RamRange& ram : platform->ram())
      must(ram.hot_added ? boot.add_client({ram.base, ram.size}) : boot.add({ram.base, ram.size}));
    must(boot.reserve({PhysAddr{0}, MiB(1)}));  // as on a PC; and frame 0 never is anybody's
    params.scratch = {.absolute = true, .low = MiB(4), .global = MiB(8)};
    kho = must(Kho::create(map, params));
    must(kho->early_init(boot, platform->mailbox().current()));
    pages = must(mm::PageAllocator::create(map));
    pages->take_over(boot);
    vmalloc = std::make_unique<mm::Vmalloc>(*pages, *platform);
    must(kho->init(*pages, *vmalloc));
  }

  // Publishes this kernel's handover; from then on it may die at any time.
  void commit(hw::HandoverKind kind = hw::HandoverKind::kStanding) {
    must(kho->commit(platform->mailbox(), kind, platform->generation()));
  }
  // Pages of both zones that could be handed out now.
  uint64_t free_pages() {
    pages->drain_per_cpu_lists();
    uint64_t total = 0;
    for (const mm::ZoneStats& zone : pages->stats().zone) total += zone.free_pages;
    return total;
  }

  std::unique_ptr<platform::Platform> platform;
  mm::MemMap map;
  mm::BootMemory boot;
  std::unique_ptr<Kho> kho;
  std::unique_ptr<mm::PageAllocator> pages;
  std::unique_ptr<mm::Vmalloc> vmalloc;
};

}  // namespace causeway::kho::testing
