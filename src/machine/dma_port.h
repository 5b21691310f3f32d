// A bus master's way to memory: requester id and bus address -> translation -> region -> copy.
//
//   DmaPort port(regions, identity, Bdf(0, 1, 0));
//   port.set_bus_master(true);
//   if (port.write(DmaAddr{0x10000}, record, 4096) != DmaStatus::kOk) ...   // refused, nothing broke
//
// A transfer is refused, never fatal, if any byte of it has no RAM, lies above the address width or
// comes while bus mastering is off. It is checked as a whole before the first byte moves. One thread
// at a time uses a port; settings may change from another one.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/types.h"
#include "machine/gate.h"
#include "machine/region_map.h"
#include "machine/translation.h"

namespace causeway::machine {

enum class DmaStatus : uint8_t {
  kOk,
  kNoRam,         // no memory behind the address, or the pages behind it have gone
  kAboveWidth,    // the device does not drive so many address bits
  kNotMapped,     // the translation refused
  kReadOnly,      // a write to memory that its owner lets nobody write to
  kBusMasterOff,  // the command register forbids it
};
const char* name_of(DmaStatus status);

class DmaPort {
 public:
  // The most one call moves, so that whoever waits for a transfer in flight waits for a short one.
  static constexpr uint64_t kMaxTransfer = KiB(256);

  DmaPort(RegionMap& regions, TranslationSource& translation, Bdf requester);
  ~DmaPort();
  DmaPort(const DmaPort&) = delete;
  DmaPort& operator=(const DmaPort&) = delete;

  // `bytes` <= kMaxTransfer.
  DmaStatus read(DmaAddr from, void* to, uint64_t bytes);
  DmaStatus write(DmaAddr to, const void* from, uint64_t bytes);

  // Eight bytes in one store, which nobody sees before what this port wrote earlier. `to` is aligned to 8.
  DmaStatus publish(DmaAddr to, uint64_t value);

  // Memory of the device itself. From set_own_base() on, this port's addresses from `base` on are that
  // memory; they do not come to the bus and are not translated. kDmaMappingError: none.
  void set_own_memory(std::byte* data, uint64_t bytes);  // before the port is used
  void set_own_base(DmaAddr base) { own_base_.store(base.value(), std::memory_order_relaxed); }

  // Off: returns when no transfer is in flight, and none starts afterwards.
  void set_bus_master(bool on);
  bool bus_master() const { return bus_master_.load(std::memory_order_seq_cst); }
  // The device's right to ask its IOMMU for translations and to keep them. Any thread.
  void set_ats(bool on) { translation_->set_ats(on); }
  // The address space of what follows. On the thread that uses the port.
  void set_pasid(std::optional<uint32_t> pasid) { pasid_ = pasid; }
  // Where in the last transfer the translation refused.
  DmaAddr refused_at() const { return refused_at_; }
  // Asks software for a page of the address space (PRI). On the thread that uses the port.
  void request_page(DmaAddr address, Access access);
  PageAnswer page_answer() const { return translation_->page_answer(); }
  // Address bits the device drives, 1..64.
  void set_address_width(unsigned bits) { address_width_.store(bits, std::memory_order_relaxed); }
  unsigned address_width() const { return address_width_.load(std::memory_order_relaxed); }

 private:
  DmaStatus transfer(DmaAddr address, std::byte* buffer, uint64_t bytes, Access access);
  // Where the first of `bytes` bytes at `address` is and how many follow. kOk or why not.
  DmaStatus locate(DmaAddr address, uint64_t bytes, Access access, RegionMap::Run* run);

  RegionMap& regions_;
  const std::unique_ptr<TranslationPort> translation_;
  std::optional<uint32_t> pasid_;
  DmaAddr refused_at_;
  Gate gate_;
  std::atomic<bool> bus_master_{false};
  std::atomic<unsigned> address_width_{64};
  std::byte* own_data_ = nullptr;
  uint64_t own_bytes_ = 0;
  std::atomic<uint64_t> own_base_{kDmaMappingError.value()};
};

}  // namespace causeway::machine
