// The layout of the `bus` memfd: everything machine and kernel share that is not RAM.
//
//   offset            | what                      | writer
//   0                 | BusHeader                 | machine, once
//   kRegionTable      | RegionEntry[kMaxRegions]  | machine
//   kMailbox          | KexecMailbox              | kernel
//   kInterruptMailbox | InterruptMailbox          | machine raises, kernel acknowledges
//   kRequestRing      | RequestRing               | kernel produces, machine consumes
//   kEcam             | configuration space, 1 MiB| machine; the kernel writes through the ring
//   kBarWindow        | register pages, 16 MiB    | machine; the kernel writes through the ring
//   kIommuWindow      | registers of IOMMUs       | machine; the kernel writes through the ring
//   kFirmwareTable    | DMAR (dmar.h), 4 KiB      | machine, once
//
// MMIO is memory. A *posted write* is an entry of the request ring; the machine applies it in order.
// A *read without side effects* is a plain load of the register page, after every posted write that
// came before it has been applied (PCI ordering: a read pushes writes ahead of it). Any *other read*
// is an entry of the ring too and waits for the answer in `read_result`.
//
// A kernel may be killed between any two instructions, so nothing here needs it to finish anything:
// an entry exists only once `tail` covers it, and the next generation resumes at the same `tail`. The
// wake-up that follows a store may be missing for the same reason, so the machine's sleep has an end.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/types.h"
#include "hw/address_map.h"
#include "hw/mailbox.h"

namespace causeway::hw {

inline constexpr uint64_t kBusMagic = 0x737542796177'4357;
inline constexpr uint32_t kBusVersion = 3;
inline constexpr unsigned kMaxRegions = 65536;

struct BusHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t ram_regions_at_boot;
  uint64_t bus_size;
  std::atomic<uint32_t> region_count;  // entries ever used; an entry may be free again
  std::atomic<uint32_t> generation;    // boots since power-on; raised by the machine at each attach
};

enum class RegionKind : uint32_t {
  kFree = 0,
  kBootRam = 1,
  kHotAdded = 2,
  kHotAddedReadOnly = 3,  // a sealed file, or one opened for reading: a device's write to it is refused
};

// One run of RAM behind one descriptor. Boot RAM is two entries with the same `fd_id`.
struct RegionEntry {
  uint64_t base;                 // physical
  uint64_t size;                 // bytes
  uint64_t fd_offset;            // where the run starts in its descriptor
  std::atomic<RegionKind> kind;  // written last
  uint32_t fd_id;                // for control::GetFd
  uint64_t device;               // which file is behind a hot-added region: st_dev and st_ino
  uint64_t inode;
};
static_assert(sizeof(RegionEntry) == 48);

// Message signalled interrupts end here. A vector's count only grows on the machine's side; the
// kernel handles `raised - acknowledged` of them, so that none is lost while no kernel runs.
inline constexpr unsigned kVectors = 256;
struct InterruptMailbox {
  std::atomic<uint32_t> doorbell;       // raised with every interrupt; the kernel sleeps on it (futex)
  std::atomic<uint32_t> kernel_sleeps;  // 1 while it does: the machine then wakes it
  uint32_t reserved[14];
  std::atomic<uint32_t> raised[kVectors];
  std::atomic<uint32_t> acknowledged[kVectors];
};

enum class RequestOp : uint32_t { kWrite = 1, kRead = 2 };
struct Request {
  uint64_t address;  // physical: inside ECAM, the BAR window or the IOMMU window
  uint64_t value;    // of a write
  RequestOp op;
  uint32_t width;  // 1, 2, 4 or 8 bytes, naturally aligned
  uint64_t reserved;
};
static_assert(sizeof(Request) == 32);

inline constexpr unsigned kRequestSlots = 1024;
// Single producer: the kernel serialises its CPUs with a lock of its own. Indices run freely.
struct RequestRing {
  alignas(64) std::atomic<uint32_t> tail;  // produced; the machine sleeps on it (futex)
  std::atomic<uint32_t> machine_sleeps;    // 1 while the machine sleeps: the producer wakes it
  alignas(64) std::atomic<uint32_t> head;  // applied
  std::atomic<uint32_t> kernel_sleeps;     // waiters on head
  std::atomic<uint64_t> read_result;       // of the newest kRead applied; valid once head passed it
  alignas(64) Request slot[kRequestSlots];
};

inline constexpr uint64_t kRegionTable = kPageSize;
inline constexpr uint64_t kMailbox = kRegionTable + kMaxRegions * sizeof(RegionEntry);
inline constexpr uint64_t kInterruptMailbox = kMailbox + kPageSize;
inline constexpr uint64_t kRequestRing = kInterruptMailbox + kPageSize;
inline constexpr uint64_t kEcam = kRequestRing + align_up(sizeof(RequestRing), kPageSize);
inline constexpr uint64_t kBarWindow = kEcam + kEcamSize;
inline constexpr uint64_t kIommuWindow = kBarWindow + kBarWindowSize;
inline constexpr uint64_t kFirmwareTable = kIommuWindow + kIommuWindowSize;
inline constexpr uint64_t kBusSize = kFirmwareTable + kPageSize;
static_assert(sizeof(BusHeader) <= kPageSize && sizeof(KexecMailbox) <= kPageSize);
static_assert(sizeof(InterruptMailbox) <= kPageSize);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace causeway::hw
