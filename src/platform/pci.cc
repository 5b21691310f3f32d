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

uint16_t PciFunction::find_capability(uint8_t id) const {
  MmioWindow space = config();
  if (pci::StatusCapabilities::get(space.read16(pci::kStatus)) == 0) return 0;
  auto byte = [&](uint16_t offset) {
    return static_cast<uint8_t>(space.read16(offset & ~1u) >> (8 * (offset & 1)));
  };
  uint16_t at = byte(pci::kCapabilities) & ~3u;
  // As many as have room in 256 bytes: a broken list may be a circle.
  for (unsigned left = 48; at != 0 && left != 0; --left) {
    if (byte(at) == id) return at;
    at = byte(at + pci::kCapabilityNext) & ~3u;
  }
  return 0;
}

uint16_t PciFunction::find_extended_capability(uint16_t id) const {
  MmioWindow space = config();
  uint32_t at = pci::kExtendedCapabilities;
  // As many as have room: a broken list may be a circle.
  for (unsigned left = (kPageSize - pci::kExtendedCapabilities) / 8; left != 0; --left) {
    uint32_t head = space.read32(at);
    if (head == 0 || head == ~0u) return 0;
    if (pci::ExtendedId::get(head) == id) return static_cast<uint16_t>(at);
    at = static_cast<uint32_t>(pci::ExtendedNext::get(head)) & ~3u;
    if (at < pci::kExtendedCapabilities) return 0;
  }
  return 0;
}

unsigned PciFunction::ats_queue_depth() const {
  uint16_t at = find_extended_capability(pci::kAtsCapabilityId);
  if (at == 0) return 0;
  auto depth = static_cast<unsigned>(pci::AtsQueueDepth::get(config().read16(at + pci::kAtsCapability)));
  return depth == 0 ? 32 : depth;
}

bool PciFunction::ats_enabled() const {
  uint16_t at = find_extended_capability(pci::kAtsCapabilityId);
  return at != 0 && pci::AtsEnable::get(config().read16(at + pci::kAtsControl)) != 0;
}

Status PciFunction::set_ats(bool on) {
  uint16_t at = find_extended_capability(pci::kAtsCapabilityId);
  if (at == 0) return fail(ENODEV, "the function has no ats capability");
  MmioWindow space = config();
  uint16_t control = space.read16(at + pci::kAtsControl);
  space.write16(at + pci::kAtsControl, static_cast<uint16_t>(pci::AtsEnable::set(control, on)));
  mmio_->flush();
  return {};
}

unsigned PciFunction::pasid_bits() const {
  uint16_t at = find_extended_capability(pci::kPasidCapabilityId);
  if (at == 0) return 0;
  return static_cast<unsigned>(pci::PasidMaxWidth::get(config().read16(at + pci::kPasidCapability)));
}

bool PciFunction::pasid_enabled() const {
  uint16_t at = find_extended_capability(pci::kPasidCapabilityId);
  return at != 0 && pci::PasidEnable::get(config().read16(at + pci::kPasidControl)) != 0;
}

Status PciFunction::set_pasid(bool on) {
  uint16_t at = find_extended_capability(pci::kPasidCapabilityId);
  if (at == 0) return fail(ENODEV, "the function has no pasid capability");
  MmioWindow space = config();
  uint16_t control = space.read16(at + pci::kPasidControl);
  space.write16(at + pci::kPasidControl, static_cast<uint16_t>(pci::PasidEnable::set(control, on)));
  mmio_->flush();
  return {};
}

unsigned PciFunction::msix_entries() const {
  uint16_t at = find_capability(pci::kMsixCapabilityId);
  if (at == 0) return 0;
  return static_cast<unsigned>(pci::MsixTableSize::get(config().read16(at + pci::kMsixControl))) + 1;
}

Result<MmioWindow> PciFunction::msix_entry(unsigned entry) const {
  uint16_t at = find_capability(pci::kMsixCapabilityId);
  if (at == 0) return fail(ENODEV, "the function has no msi-x capability");
  if (entry >= msix_entries()) return fail(EINVAL, "the msi-x table has no such entry");
  uint32_t where = config().read32(at + pci::kMsixTableOffset);
  if (pci::MsixBir::get(where) != 0) return fail(ENODEV, "the msi-x table is not in BAR 0");
  uint32_t table = where & static_cast<uint32_t>(pci::MsixInBar::kMask);
  return mmio_->window(bar0_base() + (table + entry * pci::kMsixEntrySize), pci::kMsixEntrySize);
}

Status PciFunction::enable_msix(unsigned entry, uint8_t vector) {
  MmioWindow words = CW_TRY(msix_entry(entry));
  MmioWindow space = config();
  const auto address = static_cast<uint32_t>(hw::kMsiBase.value());
  bool only_the_vector_changes = pci::MsixEntryMask::get(words.read32(pci::kMsixEntryControl)) == 0 &&
                                 words.read32(pci::kMsixEntryAddressLow) == address &&
                                 words.read32(pci::kMsixEntryAddressHigh) == 0;
  if (!only_the_vector_changes) {
    words.write32(pci::kMsixEntryControl, static_cast<uint32_t>(pci::MsixEntryMask::make(1)));
    words.write32(pci::kMsixEntryAddressLow, address);
    words.write32(pci::kMsixEntryAddressHigh, 0);
  }
  words.write32(pci::kMsixEntryData, vector);
  words.write32(pci::kMsixEntryControl, 0);
  const uint32_t control_at = find_capability(pci::kMsixCapabilityId) + pci::kMsixControl;
  uint16_t control = space.read16(control_at);
  if (pci::MsixEnable::get(control) == 0 || pci::MsixFunctionMask::get(control) != 0) {
    disable_msi();
    space.write16(control_at,
                  static_cast<uint16_t>(pci::MsixEnable::set(pci::MsixFunctionMask::set(control, 0), 1)));
  }
  mmio_->flush();
  return {};
}

Status PciFunction::mask_msix(unsigned entry) {
  MmioWindow words = CW_TRY(msix_entry(entry));
  words.write32(pci::kMsixEntryControl, static_cast<uint32_t>(pci::MsixEntryMask::make(1)));
  mmio_->flush();
  return {};
}

void PciFunction::disable_msix() {
  uint16_t at = find_capability(pci::kMsixCapabilityId);
  if (at == 0) return;
  MmioWindow space = config();
  uint16_t control = space.read16(at + pci::kMsixControl);
  space.write16(at + pci::kMsixControl, static_cast<uint16_t>(pci::MsixEnable::set(control, 0)));
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
