// The fixture of the remapping unit's tests: a machine with a unit, a raw driver of it, and a DMA engine behind it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/log.h"
#include "machine/machine.h"
#include "machine/testing/mini_driver.h"
#include "machine/testing/raw_iommu.h"

namespace causeway::machine::testing {

inline constexpr Bdf kEngine{0, 1, 0};
inline constexpr uint16_t kDomainId = 7;
// Where the engine's rings and data are, and where the engine finds them.
inline constexpr PhysAddr kRings{0x10'0000};
inline constexpr uint64_t kSource = 0x40'0000;
inline constexpr uint64_t kTarget = 0x50'0000;
inline constexpr uint64_t kOther = 0x60'0000;
inline constexpr uint64_t kIovaSource = 0x8000'0000;
inline constexpr uint64_t kIovaTarget = 0x8000'1000;

class VtdTest : public ::testing::Test {
 protected:
  explicit VtdTest(const IommuSpec& spec = {}, LineFlushes* lines = nullptr, bool ats = false)
      : VtdTest(std::vector<IommuSpec>{spec}, spec.scalable, lines, ats) {}
  VtdTest(const std::vector<IommuSpec>& specs, bool scalable, LineFlushes* lines = nullptr, bool ats = false)
      : VtdTest(config(specs, lines, ats), scalable ? Mode::kScalable : Mode::kLegacy) {}
  VtdTest(const MachineConfig& config, Mode mode) : machine(*Machine::create(config)), iommu(kernel, mode) {}

  static MachineConfig config(const std::vector<IommuSpec>& specs, LineFlushes* lines, bool ats) {
    MachineConfig config;
    config.ram = MiB(128);
    config.iommus = specs;
    config.line_flushes = lines;
    config.devices[0].ats = ats;
    return config;
  }
  // The engine's rings are mapped one to one, and source and target above.
  void map_engine(PhysAddr tables) {
    for (uint64_t offset = 0; offset < KiB(64); offset += kPageSize)
      iommu.map(tables, kRings.value() + offset, kRings.value() + offset);
    iommu.map(tables, kIovaSource, kSource);
    iommu.map(tables, kIovaTarget, kTarget);
  }
  // A legacy unit that translates the engine.
  void start_legacy() {
    top = iommu.page();
    map_engine(top);
    iommu.set_context(kEngine, top, kDomainId);
    iommu.start();
    driver.reset();
    driver.set_up(regs::kWorkQueue, kRings, 6);
  }
  regs::TransferStatus copy_to(uint64_t iova, uint64_t pattern = 0x1122'3344'5566'7788) {
    std::memcpy(kernel.ram(PhysAddr(kSource)), &pattern, 8);
    return driver.run(regs::kWorkQueue, copy(kIovaSource, iova, 64)).status;
  }
  uint64_t at(uint64_t phys) { return iommu.load(PhysAddr(phys)); }
  uint64_t number(const std::string& name) {
    const std::string text = "\n" + machine->status();
    const size_t found = text.find("\n" + name + "=");
    if (found == std::string::npos) return ~uint64_t{0};
    return std::stoull(text.substr(found + name.size() + 2));
  }
  uint64_t reports() { return number("iommu0.reports"); }
  uint64_t reports(const std::string& kind) { return number("iommu0." + kind); }

  log::Capture quiet;
  std::unique_ptr<Machine> machine;
  RawKernel kernel{machine->connect()};
  RawRegisters registers{kernel};
  MiniDriver driver{registers};
  RawIommu iommu;
  PhysAddr top;
};

}  // namespace causeway::machine::testing
