#include "machine/pci_function.h"

#include "hw/address_map.h"
#include "hw/pci.h"

namespace causeway::machine {

namespace pci = hw::pci;

namespace {
constexpr uint32_t kMemoryBar64 = 0x4;       // type bits of a 64-bit memory BAR
constexpr uint32_t kMsi64BitCapable = 0x80;  // of the MSI control register
constexpr uint32_t kMultiFunction = 0x80;    // of the header type
constexpr uint32_t msi(uint16_t offset) {
  return pci::kMsiOffset + offset;
}
}  // namespace

PciFunction::PciFunction(Bdf bdf, const Identity& identity, std::byte* ecam_page, InterruptSink& interrupts)
    : bdf_(bdf),
      bar_base_(identity.bar_base),
      bar_size_(identity.bar_size),
      config_(ecam_page),
      interrupts_(interrupts),
      has_ats_(identity.ats) {
  uint64_t address_bits = ~(bar_size_ - 1);
  config_.set(pci::kVendorId, 2, identity.vendor);
  config_.set(pci::kDeviceId, 2, identity.device);
  config_.set(pci::kCommand, 2, 0,
              static_cast<uint32_t>(pci::CommandMemory::kMask | pci::CommandBusMaster::kMask));
  config_.set(pci::kStatus, 2, static_cast<uint32_t>(pci::StatusCapabilities::make(1)));
  config_.set(pci::kClassRevision, 4, identity.class_code << 8);
  config_.set(pci::kHeaderType, 1, identity.multi_function ? kMultiFunction : 0);
  config_.set(pci::kBar0, 4, static_cast<uint32_t>(bar_base_.value()) | kMemoryBar64,
              static_cast<uint32_t>(address_bits));
  config_.set(pci::kBar0 + 4, 4, static_cast<uint32_t>(bar_base_.value() >> 32),
              static_cast<uint32_t>(address_bits >> 32));
  config_.set(pci::kCapabilities, 1, pci::kMsiOffset);
  config_.set(pci::kMsiOffset, 2, pci::kMsiCapabilityId);  // and no next capability
  config_.set(msi(pci::kMsiControl), 2, kMsi64BitCapable, static_cast<uint32_t>(pci::MsiEnable::kMask));
  config_.set(msi(pci::kMsiAddressLow), 4, 0, ~3u);
  config_.set(msi(pci::kMsiAddressHigh), 4, 0, ~0u);
  config_.set(msi(pci::kMsiData), 2, 0, 0xffff);
  add_extended_capabilities(identity);
  if (identity.msix.entries == 0) return;
  RegisterPage bar(identity.msix.bar);
  msix_.emplace(bar.block(identity.msix.table), bar.block(identity.msix.pending_bits), identity.msix.entries,
                interrupts_);
  config_.set(pci::kMsiOffset + pci::kCapabilityNext, 1, pci::kMsixOffset);
  config_.set(pci::kMsixOffset, 2, pci::kMsixCapabilityId);  // and no next capability
  config_.set(pci::kMsixOffset + pci::kMsixControl, 2,
              static_cast<uint32_t>(pci::MsixTableSize::make(identity.msix.entries - 1)),
              static_cast<uint32_t>(pci::MsixEnable::kMask | pci::MsixFunctionMask::kMask));
  config_.set(pci::kMsixOffset + pci::kMsixTableOffset, 4, identity.msix.table);
  config_.set(pci::kMsixOffset + pci::kMsixPbaOffset, 4, identity.msix.pending_bits);
}

// The list starts where a function without capabilities has zeros.
void PciFunction::add_extended_capabilities(const Identity& identity) {
  auto head = [](uint16_t id, uint16_t next) {
    return static_cast<uint32_t>(pci::ExtendedId::make(id) | pci::ExtendedVersion::make(1) |
                                 pci::ExtendedNext::make(next));
  };
  const bool has_pasid = identity.pasid_bits != 0;
  if (identity.ats) {
    config_.set(pci::kAtsOffset, 4, head(pci::kAtsCapabilityId, has_pasid ? pci::kPasidOffset : 0));
    config_.set(pci::kAtsOffset + pci::kAtsCapability, 2, 0);  // a queue of 32
    config_.set(pci::kAtsOffset + pci::kAtsControl, 2, 0, static_cast<uint32_t>(pci::AtsEnable::kMask));
  } else if (has_pasid) {
    // The first place holds an empty capability that leads on.
    config_.set(pci::kExtendedCapabilities, 4, head(0, pci::kPasidOffset));
  }
  if (!has_pasid) return;
  config_.set(pci::kPasidOffset, 4, head(pci::kPasidCapabilityId, 0));
  config_.set(pci::kPasidOffset + pci::kPasidCapability, 2,
              static_cast<uint32_t>(pci::PasidMaxWidth::make(identity.pasid_bits)));
  config_.set(pci::kPasidOffset + pci::kPasidControl, 2, 0, static_cast<uint32_t>(pci::PasidEnable::kMask));
}

bool PciFunction::bus_master() const {
  return pci::CommandBusMaster::get(config_.read(pci::kCommand, 2)) != 0;
}

bool PciFunction::ats_enabled() const {
  return has_ats_ && pci::AtsEnable::get(config_.read(pci::kAtsOffset + pci::kAtsControl, 2)) != 0;
}

void PciFunction::write_config(uint32_t offset, uint32_t width, uint32_t value) {
  bool did_decode = decodes_memory();
  bool was_master = bus_master();
  bool had_ats = ats_enabled();
  config_.write(offset, width, value);
  settle_bar(offset, width);
  if (ats_enabled() != had_ats) on_ats(!had_ats);
  bool is_master = bus_master();
  if (decodes_memory() != did_decode) on_decodes_memory(!did_decode);
  if (is_master != was_master) on_bus_master(is_master);
  if (offset + width > pci::kMsiOffset && offset < pci::kMsiOffset + 0x10u) update_msi();
  if (msix_ && offset + width > pci::kMsixOffset && offset < pci::kMsixOffset + 4u) update_msix();
}

bool PciFunction::decodes_memory() const {
  uint64_t bar = uint64_t{config_.read(pci::kBar0 + 4, 4)} << 32 | (config_.read(pci::kBar0, 4) & ~0xfu);
  return pci::CommandMemory::get(config_.read(pci::kCommand, 2)) != 0 && bar == bar_base_.value();
}

// Half a BAR keeps showing a mask only if this very write has made it one, or has sized the other half.
void PciFunction::settle_bar(uint32_t offset, uint32_t width) {
  uint64_t address_bits = ~(bar_size_ - 1);
  bool is_sizing = offset < pci::kBar0 + 8u && offset + width > pci::kBar0;
  for (unsigned half = 0; half < 2; ++half) {
    uint16_t at = static_cast<uint16_t>(pci::kBar0 + 4 * half);
    uint32_t flags = half == 0 ? kMemoryBar64 : 0;
    auto writable = static_cast<uint32_t>(address_bits >> (32 * half));
    if (is_sizing && config_.read(at, 4) == (writable | flags)) continue;
    config_.set(at, 4, static_cast<uint32_t>(bar_base_.value() >> (32 * half)) | flags, writable);
  }
}

void PciFunction::update_msi() {
  bool enabled = pci::MsiEnable::get(config_.read(msi(pci::kMsiControl), 2)) != 0;
  uint64_t address =
      uint64_t{config_.read(msi(pci::kMsiAddressHigh), 4)} << 32 | config_.read(msi(pci::kMsiAddressLow), 4);
  bool in_window = address >= hw::kMsiBase.value() && address - hw::kMsiBase.value() < hw::kMsiSize;
  auto vector = static_cast<int>(pci::MsiVector::get(config_.read(msi(pci::kMsiData), 2)));
  msi_vector_.store(enabled && in_window ? vector : -1, std::memory_order_relaxed);
}

void PciFunction::update_msix() {
  uint32_t control = config_.read(pci::kMsixOffset + pci::kMsixControl, 2);
  msix_->set_control(pci::MsixEnable::get(control) != 0, pci::MsixFunctionMask::get(control) != 0);
}

void PciFunction::raise_interrupt(unsigned entry) {
  if (!msix_enabled()) return raise_msi();
  if (entry < msix_->entries()) msix_->raise(entry);
}

bool PciFunction::write_msix_table(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  return msix_->write(offset, width, value, why);
}

void PciFunction::raise_msi() {
  int vector = msi_vector_.load(std::memory_order_relaxed);
  if (vector >= 0) interrupts_.raise(static_cast<uint8_t>(vector));
}

}  // namespace causeway::machine
