// For tests: a DMA engine as a bus master behind a unit. Its ring and its data are reached by the addresses of the domain it
// is on, which these helpers map.
//
//   EngineDma nic(system, Bdf(0, 1, 0), *device.group().default_domain());
//   EXPECT_TRUE(nic.copy(from, to, 64));          // addresses as the device sees them
#pragma once

#include "iommu/vtd/testing/system.h"
#include "machine/testing/mini_driver.h"
#include "platform/testing/machine.h"

namespace causeway::iommu::vtd::testing {

namespace regs = hw::dma_engine;

// A MiniDriver takes one address for what the device and the processor see: here they differ by where the ring is mapped.
class EngineRegisters final : public machine::testing::Registers {
 public:
  EngineRegisters(System& system, Bdf bdf) : inner_(system.platform(), bdf), system_(system) {}
  void map(uint64_t iova, PhysAddr phys, uint64_t bytes) { windows_.push_back({iova, phys, bytes}); }
  void write32(uint32_t offset, uint32_t value) override { inner_.write32(offset, value); }
  void write64(uint32_t offset, uint64_t value) override { inner_.write64(offset, value); }
  uint32_t read32(uint32_t offset) override { return inner_.read32(offset); }
  uint64_t read64(uint32_t offset) override { return inner_.read64(offset); }
  uint32_t read32_with_effect(uint32_t offset) override { return inner_.read32_with_effect(offset); }
  std::byte* ram(PhysAddr iova) override {
    for (const Window& window : windows_)
      if (iova.value() >= window.iova && iova.value() - window.iova < window.bytes)
        return system_.at(window.phys + (iova.value() - window.iova));
    std::abort();
  }

 private:
  struct Window {
    uint64_t iova;
    PhysAddr phys;
    uint64_t bytes;
  };
  platform::testing::PlatformRegisters inner_;
  System& system_;
  std::vector<Window> windows_;
};

class EngineDma {
 public:
  static constexpr uint64_t kRings = 0x7000'0000;  // as the device sees them

  // Maps the rings into `domain`, and starts.
  EngineDma(System& system, Bdf bdf, Domain& domain, PhysAddr rings)
      : registers_(system, bdf), driver_(registers_) {
    must(domain.map(Iova(kRings), rings, kPageSize, kRead | kWrite));
    domain.sync_map(Iova(kRings), kPageSize);
    registers_.map(kRings, rings, kPageSize);
    driver_.reset();
    driver_.set_up(regs::kWorkQueue, PhysAddr(kRings), 5);
  }
  // Goes on where the kernel before has stopped: nothing is mapped or programmed.
  EngineDma(System& system, Bdf bdf, PhysAddr rings) : registers_(system, bdf), driver_(registers_) {
    registers_.map(kRings, rings, kPageSize);
    driver_.adopt(regs::kWorkQueue, PhysAddr(kRings), 5);
  }

  regs::TransferStatus try_copy(uint64_t from, uint64_t to, uint32_t bytes) {
    return driver_.run(regs::kWorkQueue, machine::testing::copy(from, to, bytes)).status;
  }
  bool copy(uint64_t from, uint64_t to, uint32_t bytes) { return try_copy(from, to, bytes) == regs::TransferStatus::kOk; }
  machine::testing::MiniDriver& driver() { return driver_; }

 private:
  EngineRegisters registers_;
  machine::testing::MiniDriver driver_;
};

}  // namespace causeway::iommu::vtd::testing
