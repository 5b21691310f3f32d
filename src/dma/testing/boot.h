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
#include "kho/testing/kernel_memory.h"
#include "machine/machine.h"

namespace causeway::dma::testing {

inline constexpr mm::Gfp kSleep = mm::kGfpKernel;  // of an allocation that may wait

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
                  std::vector<machine::DeviceSpec> devices = {}, machine::Translation* translation = nullptr,
                  std::vector<machine::IommuSpec> iommus = {})
      : machine_(must(machine::Machine::create({.ram = ram,
                                                .devices = std::move(devices),
                                                .iommus = std::move(iommus),
                                                .translation = translation}))) {
    boot(options);
  }
  ~System() { die(); }

  // An orderly live update; `options` are the new kernel's.
  void kexec(const BootOptions& options = {}) {
    if (kho().is_enabled()) commit(hw::HandoverKind::kOrderly);
    crash(options);
  }
  // Publishes this kernel's handover; from then on it may die at any time.
  void commit(hw::HandoverKind kind = hw::HandoverKind::kStanding) { memory_->commit(kind); }
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
  platform::Platform& platform() { return *memory_->platform; }
  Dma& dma() { return *dma_; }
  kho::Kho& kho() { return *memory_->kho; }
  mm::PageAllocator& pages() { return *memory_->pages; }
  mm::MemMap& map() { return memory_->map; }
  mm::Vmalloc& vmalloc() { return *memory_->vmalloc; }
  std::byte* at(PhysAddr phys) { return map().direct_map().to_virt(phys); }

  uint64_t free_pages() { return memory_->free_pages(); }
  mm::FrameState state(PhysAddr phys, uint64_t page = 0) {
    return pages().state(Pfn::containing(phys) + page);
  }

 private:
  void boot(const BootOptions& options) {
    memory_.emplace(machine_->connect(), kho::KhoParams{.enabled = options.kho, .format = options.format, .release = "test"});
    dma_ = must(Dma::create(pages(), vmalloc(), kho(), options.dma));
    dma_->set_faults(options.faults);
  }

  // Latest first; nothing is given back.
  void die() {
    dma_.reset();
    memory_.reset();
  }

  std::unique_ptr<machine::Machine> machine_;
  std::optional<kho::testing::KernelMemory> memory_;
  std::unique_ptr<Dma> dma_;
};

}  // namespace causeway::dma::testing
