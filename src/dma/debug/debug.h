// dma-debug: every mapping and allocation of every driver is recorded, and what a driver does wrong with one is reported:
// the device, the address, the size, and where it was mapped (CONFIG_DMA_API_DEBUG).
//
//   Debug debug(map, {.all_errors = true});
//   debug.map_phys(device, phys, size, direction, bus, attrs);      // called by the mapping API after a success
//   debug.unmap_phys(device, bus, size, direction, attrs);          // and by the driver's unmap
//   EXPECT_EQ(debug.errors(), 0u);
//   debug.device_removed(device);                                   // "device driver has pending DMA allocations"
//
// The classes of report are the kernel's (spec section 7), each a DebugError. By default the first report is printed
// and all are counted. Entries live in hash buckets by bus address with a lock each; overlap of mappings is tracked by cache
// line, with real counters. Beyond the kernel: the two-step API is tracked too, and a device that reads memory nobody
// ever wrote is reported (init_tracker.h), which is KMSAN's part. Devices are told apart by name.
//
// Thread-safe. Nothing here sleeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/types.h"
#include "dma/attributes.h"
#include "dma/device.h"
#include "dma/direction.h"
#include "dma/scatterlist.h"
#include "mm/page_allocator.h"

namespace causeway::dma {

enum class DebugError : uint8_t {
  kInvalidAddressFreed,      // unmap of kMappingError
  kNotAllocated,             // unmap of what was never mapped, or twice
  kDifferentSize,
  kWrongFunction,            // mapped as one type, unmapped as another
  kDifferentCpuAddress,      // coherent and noncoherent allocations
  kDifferentSgCount,         // of unmap_sg
  kDifferentDirection,
  kMapErrorNotChecked,       // no mapping_error() before the unmap
  kDifferentAttributes,
  kSyncNotAllocated,
  kSyncOutsideRange,
  kSyncDifferentDirection,
  kSyncForCpuReadOnly,       // the device only reads it
  kSyncForDeviceWriteOnly,   // the device only writes it
  kSyncSgCount,
  kMapsFromStack,
  kMapsKernelText,
  kMapsInvalidArea,
  kMapsVmalloc,
  kResourceIsRam,            // map_resource of system RAM
  kSegmentTooLong,
  kSegmentCrossesBoundary,
  kCachelineOverlap,
  kPendingAllocations,       // device removed with live entries
  kUninitialised,            // the device reads memory nobody wrote
};
const char* name_of(DebugError error);  // what it is called in a report
inline constexpr unsigned kDebugErrors = static_cast<unsigned>(DebugError::kUninitialised) + 1;

class InitTracker;

class Debug {
 public:
  struct Options {
    uint64_t entries = 65536;      // dma_debug_entries=, made when first needed and grown a page at a time
    uint64_t max_entries = ~uint64_t{0};  // tests: then "out of memory", which disables for good
    bool all_errors = false;       // print every report
    uint64_t num_errors = 1;       // print so many
    std::string driver_filter;     // print only what concerns the device of this name; all is counted
    unsigned cache_line = 64;
    bool track_overlap = true;     // the kernel does not where cache alignment is below a line, as on x86
    bool bounces_kmalloc = false;  // unaligned kmalloc memory bounces and there is a swiotlb: overlap is harmless
    // Is this frame RAM the system knows (PageAllocator::is_managed)? Empty: frames in use are told by their mm::Page, and
    // only what lies beyond the map is known to be none.
    std::function<bool(Pfn)> is_ram;
    std::function<bool(const void*)> is_vmalloc;  // empty: reported as kMapsInvalidArea
    bool track_init = false;       // kUninitialised
    uint64_t init_seed = 0;        // of the pattern; 0: random
  };
  // `map`: what RAM is; a report needs no more of the system.
  Debug(mm::MemMap& map, const Options& options);
  ~Debug();

  // After the call; map_single's extra look at its pointer before it. `address` may be kMappingError: then nothing
  // is recorded, but what the device was to read is still checked for initialisation, as in the kernel.
  void check_single(const Device& device, const void* memory, size_t size);
  void map_phys(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address, Attr attrs);
  // After the backend's unmap; of a list, before it (the addresses are in the list).
  void unmap_phys(const Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs);
  void mapping_error(const Device& device, DmaAddr address);
  // `mapped` segments carry bus addresses.
  void map_sg(const Device& device, std::span<const ScatterEntry> list, unsigned mapped, Direction direction, Attr attrs);
  void unmap_sg(const Device& device, std::span<const ScatterEntry> list, Direction direction, Attr attrs);
  void alloc_coherent(const Device& device, const void* cpu, PhysAddr phys, size_t size, DmaAddr address, Attr attrs);
  void free_coherent(const Device& device, const void* cpu, size_t size, DmaAddr address, Attr attrs);
  void alloc_pages(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address);
  void free_pages(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address);
  void sync_single_for_cpu(const Device& device, DmaAddr address, size_t size, Direction direction);
  void sync_single_for_device(const Device& device, DmaAddr address, size_t size, Direction direction);
  void sync_sg_for_cpu(const Device& device, std::span<const ScatterEntry> list, Direction direction);
  void sync_sg_for_device(const Device& device, std::span<const ScatterEntry> list, Direction direction);
  // Two-step: one entry per linked piece; an unlink covers whole pieces, one after another.
  void link(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address, Attr attrs);
  void unlink(const Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs);

  // The driver was unbound: what it still has is a leak. Returns how many entries; they are forgotten.
  uint64_t device_removed(const Device& device);

  bool enabled() const;                       // false once entries ran out
  uint64_t errors() const;                    // all reports
  uint64_t errors(DebugError error) const;
  uint64_t entries() const;                   // live now
  uint64_t min_free_entries() const;
  void set_all_errors(bool all);
  void set_num_errors(uint64_t count);
  // For whoever hands out memory that is not zeroed. Null without track_init.
  InitTracker* init_tracker() const;
  // Every report, printed or not (tests). Called with no lock held.
  struct Report {
    DebugError error;
    std::string device;
    DmaAddr address;
    uint64_t size;
    std::string text;  // as printed, stack included
  };
  void set_reporter(std::function<void(const Report&)> reporter);
  // One line per live entry (debugfs dump).
  std::string dump() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace causeway::dma
