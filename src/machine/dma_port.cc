#include "machine/dma_port.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "machine/guarded_copy.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CW_THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define CW_THREAD_SANITIZER 1
#endif

namespace causeway::machine {

namespace {

// What orders two devices' accesses to one place is the driver: it sees the completion of the first and only
// then rings for the second, through mappings of its own, which ThreadSanitizer cannot relate to these. So
// under it the bytes are moved where it does not look; the devices' own state stays watched.
void move_bytes(std::byte* to, const std::byte* from, size_t bytes) {
#if CW_THREAD_SANITIZER
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
  std::memcpy(to, from, bytes);
#endif
}

}  // namespace

const char* name_of(DmaStatus status) {
  switch (status) {
    case DmaStatus::kOk:
      return "ok";
    case DmaStatus::kNoRam:
      return "no ram at the address";
    case DmaStatus::kAboveWidth:
      return "address above the device's width";
    case DmaStatus::kNotMapped:
      return "address not mapped";
    case DmaStatus::kReadOnly:
      return "memory is read-only";
    case DmaStatus::kBusMasterOff:
      return "bus mastering is off";
  }
  return "?";
}

DmaPort::DmaPort(RegionMap& regions, TranslationSource& translation, Bdf requester)
    : regions_(regions), translation_(translation.open(requester)) {
  regions_.register_gate(gate_);
}

DmaPort::~DmaPort() {
  regions_.unregister_gate(gate_);
}

void DmaPort::set_bus_master(bool on) {
  bus_master_.store(on, std::memory_order_seq_cst);
  if (!on) gate_.drain();
}

DmaStatus DmaPort::read(DmaAddr from, void* to, uint64_t bytes) {
  return transfer(from, static_cast<std::byte*>(to), bytes, Access::kRead);
}

DmaStatus DmaPort::write(DmaAddr to, const void* from, uint64_t bytes) {
  return transfer(to, static_cast<std::byte*>(const_cast<void*>(from)), bytes, Access::kWrite);
}

void DmaPort::set_own_memory(std::byte* data, uint64_t bytes) {
  own_data_ = data;
  own_bytes_ = bytes;
}

DmaStatus DmaPort::publish(DmaAddr to, uint64_t value) {
  Pass pass(gate_);
  if (!bus_master_.load(std::memory_order_seq_cst)) return DmaStatus::kBusMasterOff;
  RegionMap::Run run;
  if (DmaStatus status = locate(to, sizeof value, Access::kWrite, &run); status != DmaStatus::kOk)
    return status;
  bool stored = guarded_copy([&] {
    std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(run.data)).store(value, std::memory_order_release);
  });
  return stored ? DmaStatus::kOk : DmaStatus::kNoRam;
}

void DmaPort::request_page(DmaAddr address, Access access) {
  Pass pass(gate_);
  translation_->request_page(pasid_, address, access);
}

DmaStatus DmaPort::locate(DmaAddr address, uint64_t bytes, Access access, RegionMap::Run* run) {
  uint64_t last;
  unsigned width = address_width_.load(std::memory_order_relaxed);
  if (!checked_add(address.value(), bytes - 1, &last) || (width < 64 && last >> width != 0))
    return DmaStatus::kAboveWidth;
  uint64_t own = own_base_.load(std::memory_order_relaxed);
  if (address.value() >= own && address.value() - own < own_bytes_) {
    uint64_t offset = address.value() - own;
    *run = {own_data_ + offset, std::min(bytes, own_bytes_ - offset), true};
    return DmaStatus::kOk;
  }
  TranslationPort::Run translated = translation_->translate(pasid_, address, bytes, access);
  if (translated.bytes == 0) {
    refused_at_ = address;
    return DmaStatus::kNotMapped;
  }
  *run = regions_.find(translated.address);
  if (run->data == nullptr) return DmaStatus::kNoRam;
  if (access == Access::kWrite && !run->writable) return DmaStatus::kReadOnly;
  run->bytes = std::min({run->bytes, translated.bytes, bytes});
  return DmaStatus::kOk;
}

DmaStatus DmaPort::transfer(DmaAddr address, std::byte* buffer, uint64_t bytes, Access access) {
  if (bytes == 0) return DmaStatus::kOk;
  Pass pass(gate_);
  if (!bus_master_.load(std::memory_order_seq_cst)) return DmaStatus::kBusMasterOff;

  // Nearly every transfer is one run.
  RegionMap::Run first;
  if (DmaStatus status = locate(address, bytes, access, &first); status != DmaStatus::kOk) return status;
  // Every further run is at least one page, but for the last.
  std::array<RegionMap::Run, kMaxTransfer / kPageSize + 1>* more = nullptr;
  size_t count = 0;
  uint64_t done = first.bytes;
  if (done < bytes) {
    thread_local std::array<RegionMap::Run, kMaxTransfer / kPageSize + 1> t_runs;
    more = &t_runs;
    while (done < bytes) {
      if (count == more->size()) return DmaStatus::kNotMapped;
      RegionMap::Run& run = (*more)[count];
      if (DmaStatus status = locate(address + done, bytes - done, access, &run); status != DmaStatus::kOk)
        return status;
      done += run.bytes;
      ++count;
    }
  }
  bool whole = guarded_copy([&] {
    std::byte* at = buffer;
    for (size_t i = 0; i <= count; ++i) {
      const RegionMap::Run& run = i == 0 ? first : (*more)[i - 1];
      if (access == Access::kRead) {
        move_bytes(at, run.data, run.bytes);
      } else {
        move_bytes(run.data, at, run.bytes);
      }
      at += run.bytes;
    }
  });
  return whole ? DmaStatus::kOk : DmaStatus::kNoRam;
}

}  // namespace causeway::machine
