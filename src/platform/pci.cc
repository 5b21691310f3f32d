#include "platform/pci.h"

#include <algorithm>

#include "hw/address_map.h"
#include "hw/pci.h"

namespace causeway::platform {

namespace pci = hw::pci;

namespace {
constexpr uint32_t kHeaderMultiFunction = 0x80;
constexpr uint32_t kBarFlags = 0xf;
constexpr uint32_t msi(uint16_t offset) {
  return pci::kMsiOffset + offset;
}
}  // namespace

PciFunction::PciFunction(Mmio& mmio, Bdf bdf) : mmio_(&mmio), bdf_(bdf), bar0_size_(size_bar0()) {}

MmioWindow PciFunction::config() const {
  return mmio_->window(hw::kEcamBase + pci::ecam_offset(bdf_), kPageSize);
}

uint16_t PciFunction::vendor() const {
  return config().read16(pci::kVendorId);
}
uint16_t PciFunction::device() const {
  return config().read16(pci::kDeviceId);
}
uint32_t PciFunction::class_code() const {
  return config().read32(pci::kClassRevision) >> 8;
}

PhysAddr PciFunction::bar0_base() const {
  uint64_t low = config().read32(pci::kBar0) & ~kBarFlags;
  return PhysAddr(uint64_t{config().read32(pci::kBar0 + 4)} << 32 | low);
}
uint64_t PciFunction::bar0_size() const {
  return bar0_size_;
}
MmioWindow PciFunction::bar0() const {
  return mmio_->window(bar0_base(), bar0_size_);
}

// The bits that stay zero after a write of all ones are the offset inside the BAR. A function that decodes
// memory already belongs to a running device, and a kernel that died in the middle of such a write would take
// its registers away from every later one: there the alignment of the address has to do.
uint64_t PciFunction::size_bar0() {
  MmioWindow space = config();
  uint16_t command = space.read16(pci::kCommand);
  if (pci::CommandMemory::get(command) != 0) {
    uint64_t base = bar0_base().value();
    uint64_t window_end = hw::kBarBase.value() + hw::kBarWindowSize;
    return base < window_end ? std::min(base & -base, window_end - base) : 0;
  }
  // This write ends the sizing of a kernel that died in the middle of it: then the address is one again.
  space.write16(pci::kCommand, command);
  uint32_t low = space.read32(pci::kBar0);
  uint32_t high = space.read32(pci::kBar0 + 4);
  space.write32(pci::kBar0, ~0u);
  space.write32(pci::kBar0 + 4, ~0u);
  uint64_t mask = uint64_t{space.read32(pci::kBar0 + 4)} << 32 | (space.read32(pci::kBar0) & ~kBarFlags);
  space.write32(pci::kBar0, low);
  space.write32(pci::kBar0 + 4, high);
  mmio_->flush();
  return mask == 0 ? 0 : ~mask + 1;
}

bool PciFunction::bus_master() const {
  return pci::CommandBusMaster::get(config().read16(pci::kCommand)) != 0;
}

void PciFunction::set_command(uint64_t mask, uint64_t value) {
  uint64_t command = config().read16(pci::kCommand);
  config().write16(pci::kCommand, static_cast<uint16_t>((command & ~mask) | value));
  mmio_->flush();
}

void PciFunction::set_bus_master(bool on) {
  set_command(pci::CommandBusMaster::kMask, pci::CommandBusMaster::make(on));
}

void PciFunction::enable_memory() {
  set_command(pci::CommandMemory::kMask, pci::CommandMemory::make(1));
}

void PciFunction::enable_msi(uint8_t vector) {
  MmioWindow space = config();
  auto address = static_cast<uint32_t>(hw::kMsiBase.value());
  uint16_t control = space.read16(msi(pci::kMsiControl));
  bool only_the_vector_changes = pci::MsiEnable::get(control) != 0 &&
                                 space.read32(msi(pci::kMsiAddressLow)) == address &&
                                 space.read32(msi(pci::kMsiAddressHigh)) == 0;
  if (!only_the_vector_changes) {
    disable_msi();
    space.write32(msi(pci::kMsiAddressLow), address);
    space.write32(msi(pci::kMsiAddressHigh), 0);
  }
  space.write16(msi(pci::kMsiData), vector);
  space.write16(msi(pci::kMsiControl), static_cast<uint16_t>(pci::MsiEnable::set(control, 1)));
  mmio_->flush();
}

void PciFunction::disable_msi() {
  MmioWindow space = config();
  uint16_t control = space.read16(msi(pci::kMsiControl));
  space.write16(msi(pci::kMsiControl), static_cast<uint16_t>(pci::MsiEnable::set(control, 0)));
  mmio_->flush();
}

std::vector<PciFunction> PciBus::scan() {
  std::vector<PciFunction> found;
  for (unsigned device = 0; device < pci::kDevicesPerBus; ++device) {
    unsigned functions = 1;
    for (unsigned function = 0; function < functions; ++function) {
      Bdf bdf(0, device, function);
      MmioWindow space = mmio_->window(hw::kEcamBase + pci::ecam_offset(bdf), kPageSize);
      if (space.read16(pci::kVendorId) == pci::kNoVendor) continue;
      if (function == 0 && (space.read16(pci::kHeaderType) & kHeaderMultiFunction) != 0)
        functions = pci::kFunctionsPerDevice;
      found.push_back(PciFunction(*mmio_, bdf));
    }
  }
  return found;
}

std::vector<Bdf> PciBus::quiesce_all() {
  std::vector<Bdf> masters;
  for (PciFunction& function : scan()) {
    if (!function.bus_master()) continue;
    masters.push_back(function.bdf());
    function.set_bus_master(false);
  }
  return masters;
}

}  // namespace causeway::platform
