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

// What orders two devices' accesses to one place is the driver: it sees the completion of the first and only then
// rings for the second, through mappings of its own, which ThreadSanitizer cannot relate to these. So under
// it the bytes are moved where it does not look; the devices' own state stays watched.
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

DmaPort::DmaPort(RegionMap& regions, Translation& translation, Bdf requester)
    : regions_(regions), translation_(translation), requester_(requester) {
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

DmaStatus DmaPort::transfer(DmaAddr address, std::byte* buffer, uint64_t bytes, Access access) {
  if (bytes == 0) return DmaStatus::kOk;
  Pass pass(gate_);
  if (!bus_master_.load(std::memory_order_seq_cst)) return DmaStatus::kBusMasterOff;
  uint64_t last;
  unsigned width = address_width_.load(std::memory_order_relaxed);
  if (!checked_add(address.value(), bytes - 1, &last) || (width < 64 && last >> width != 0))
    return DmaStatus::kAboveWidth;

  // Every translated run is at least one page, but for the first and the last.
  std::array<RegionMap::Run, kMaxTransfer / kPageSize + 2> runs;
  size_t count = 0;
  for (uint64_t done = 0; done < bytes;) {
    Translation::Run translated = translation_.translate(requester_, address + done, bytes - done, access);
    if (translated.bytes == 0 || count == runs.size()) return DmaStatus::kNotMapped;
    RegionMap::Run run = regions_.find(translated.address);
    if (run.data == nullptr) return DmaStatus::kNoRam;
    if (access == Access::kWrite && !run.writable) return DmaStatus::kReadOnly;
    run.bytes = std::min({run.bytes, translated.bytes, bytes - done});
    done += run.bytes;
    runs[count++] = run;
  }
  bool whole = guarded_copy([&] {
    std::byte* at = buffer;
    for (size_t i = 0; i < count; ++i) {
      if (access == Access::kRead) {
        move_bytes(at, runs[i].data, runs[i].bytes);
      } else {
        move_bytes(runs[i].data, at, runs[i].bytes);
      }
      at += runs[i].bytes;
    }
  });
  return whole ? DmaStatus::kOk : DmaStatus::kNoRam;
}

}  // namespace causeway::machine
