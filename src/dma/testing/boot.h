// For tests: a machine, and one kernel after another on it.
//
//   System system;                                  // cold boot
//   Device nic = system.device();
//   Coherent ring = must(alloc_coherent(nic, KiB(20), mm::kGfpKernel));
//   Token token = must(preserve_allocation(nic, ring, Attr::kNone));
//   system.kexec();                                 // everything above but the token is gone
//   Device again = system.device();
//   must(restore_allocation(again, KiB(20), mm::kGfpKernel, Attr::kNone, token));
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/testing/results.h"
#include "dma/dma.h"
#include "kho/kho.h"
#include "machine/machine.h"
#include "mm/boot_memory.h"
#include "mm/page_allocator.h"
#include "mm/vmalloc.h"
#include "platform/platform.h"

namespace causeway::dma::testing {

// What the next boot is to be like.
struct BootOptions {
  Config dma;
  LiveUpdateFaults faults;
  bool kho = true;
  kho::Format format = kho::Format::kV4;
};

class System {
 public:
  explicit System(const BootOptions& options = {}, uint64_t ram = MiB(64),
                  std::vector<machine::DeviceSpec> devices = {}, machine::Translation* translation = nullptr)
      : machine_(must(machine::Machine::create(
            {.ram = ram, .devices = std::move(devices), .translation = translation}))) {
    boot(options);
  }
  ~System() { die(); }

  // An orderly live update; `options` are the new kernel's.
  void kexec(const BootOptions& options = {}) {
    if (kernel_.kho->is_enabled()) commit(hw::HandoverKind::kOrderly);
    crash(options);
  }
  // Publishes this kernel's handover; from then on it may die at any time.
  void commit(hw::HandoverKind kind = hw::HandoverKind::kStanding) {
    must(kernel_.kho->commit(kernel_.platform->mailbox(), kind, kernel_.platform->generation()));
  }
  // The next kernel finds what was published last.
  void crash(const BootOptions& options = {}) {
    die();
    boot(options);
  }

  // One with a 64-bit mask.
  Device device(DeviceTraits traits = {}, std::string name = "0000:00:01.0") {
    Device made(dma(), std::move(name), traits);
    must(made.set_mask_and_coherent(bit_mask(64)));
    return made;
  }
  platform::Platform& platform() { return *kernel_.platform; }
  Dma& dma() { return *kernel_.dma; }
  kho::Kho& kho() { return *kernel_.kho; }
  mm::PageAllocator& pages() { return *kernel_.pages; }
  mm::MemMap& map() { return *kernel_.map; }
  mm::Vmalloc& vmalloc() { return *kernel_.vmalloc; }
  std::byte* at(PhysAddr phys) { return map().direct_map().to_virt(phys); }

  // Pages of both zones that could be handed out now.
  uint64_t free_pages() {
    pages().drain_per_cpu_lists();
    mm::PageStats stats = pages().stats();
    uint64_t total = 0;
    for (const mm::ZoneStats& zone : stats.zone) total += zone.free_pages;
    return total;
  }
  mm::FrameState state(PhysAddr phys, uint64_t page = 0) {
    return pages().state(Pfn::containing(phys) + page);
  }

 private:
  struct Kernel {
    std::unique_ptr<platform::Platform> platform;
    std::optional<mm::MemMap> map;
    std::optional<mm::BootMemory> memory;
    std::unique_ptr<kho::Kho> kho;
    std::unique_ptr<mm::PageAllocator> pages;
    std::unique_ptr<mm::Vmalloc> vmalloc;
    std::unique_ptr<Dma> dma;
  };

  void boot(const BootOptions& options) {
    Kernel& k = kernel_;
    k.platform = must(platform::Platform::attach(machine_->connect()));
    k.map.emplace(must(mm::MemMap::create(k.platform->direct_map())));
    k.memory.emplace();
    for (const platform::RamRange& ram : k.platform->ram()) must(k.memory->add({ram.base, ram.size}));
    must(k.memory->reserve({PhysAddr{0}, MiB(1)}));  // as on a PC; and frame 0 never is anybody's
    kho::KhoParams params{.enabled = options.kho, .format = options.format, .release = "test"};
    params.scratch = {.absolute = true, .low = MiB(4), .global = MiB(8)};
    k.kho = must(kho::Kho::create(*k.map, params));
    must(k.kho->early_init(*k.memory, k.platform->mailbox().current()));
    k.pages = must(mm::PageAllocator::create(*k.map));
    k.pages->take_over(*k.memory);
    k.vmalloc = std::make_unique<mm::Vmalloc>(*k.pages, *k.platform);
    must(k.kho->init(*k.pages, *k.vmalloc));
    k.dma = must(Dma::create(*k.pages, *k.vmalloc, *k.kho, options.dma));
    k.dma->set_faults(options.faults);
  }

  // Latest first; nothing is given back.
  void die() {
    Kernel& k = kernel_;
    k.dma.reset();
    k.vmalloc.reset();
    k.pages.reset();
    k.kho.reset();
    k.memory.reset();
    k.map.reset();
    k.platform.reset();
  }

  std::unique_ptr<machine::Machine> machine_;
  Kernel kernel_;
};

}  // namespace causeway::dma::testing
