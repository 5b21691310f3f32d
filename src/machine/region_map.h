// The machine's RAM: a list of regions, each a run of physical addresses behind a file descriptor.
//
//   RegionMap regions(bus);
//   CW_TRY(regions.add_boot_ram(MiB(256)));
//   auto [index, base] = CW_TRY(regions.hot_add(std::move(memfd), MiB(2)));
//   ...
//   CW_TRY(regions.remove(index));     // waits until no DMA is inside
//
// DMA threads find a region through an immutable snapshot, without a lock, inside a pass of a Gate
// that the map knows. Changes publish a new snapshot and drain every gate before the old one, and
// the mapping of a removed region, go away.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"
#include "base/unique_fd.h"
#include "machine/bus_memory.h"
#include "machine/gate.h"

namespace causeway::machine {

class RegionMap {
 public:
  explicit RegionMap(const BusMemory& bus);
  ~RegionMap();
  RegionMap(const RegionMap&) = delete;
  RegionMap& operator=(const RegionMap&) = delete;

  // `size` bytes of sparse memory, split at 4 GiB by hw::low_ram_size(). Once, before anything else.
  // Errors: EINVAL (not a multiple of hw::kRamGranularity, 0, beyond 46 bits), those of mmap().
  Status add_boot_ram(uint64_t size);

  struct Placement {
    uint32_t index;
    PhysAddr base;
  };
  // Adds the first `size` bytes of the file; the last page may lie partly beyond its end. What cannot be
  // written to, by its descriptor or its seals, becomes a read-only region. Errors: EINVAL (size 0 or
  // unaligned, not a regular file or memfd, shorter than `size`, not readable), ENOSPC (table full), E2BIG
  // (no physical addresses left).
  Result<Placement> hot_add(UniqueFd fd, uint64_t size);

  // Errors: ENOENT, EBUSY (boot RAM).
  Status remove(uint32_t index);

  // Memory of a device that other devices reach through its BAR: a place for DMA, but not RAM, so kernels do
  // not find it in the region table. `data` stays until remove_device_memory() has returned; then no DMA is
  // inside.
  void add_device_memory(PhysAddr base, std::byte* data, uint64_t bytes);
  void remove_device_memory(PhysAddr base);

  // A duplicate of the descriptor with this fd_id. ENOENT.
  Result<UniqueFd> duplicate_fd(uint32_t fd_id) const;

  // Regions that exist, and bytes of RAM in them.
  struct Totals {
    uint32_t regions = 0;
    uint64_t bytes = 0;
  };
  Totals totals() const;

  // Gates to drain before memory goes away. A gate is registered while its thread may pass.
  void register_gate(Gate& gate);
  void unregister_gate(Gate& gate);

  // Returns when every pass under way at the time of the call has ended. Not inside a pass.
  void drain() const;

  // The RAM at `address` and how many bytes of it follow in the same region; null: no RAM there. Only
  // inside a pass of a registered gate; valid until the pass ends.
  struct Run {
    std::byte* data = nullptr;
    uint64_t bytes = 0;
    bool writable = true;
  };
  Run find(PhysAddr address) const;

 private:
  struct Backing;
  struct Entry {
    uint64_t base;
    uint64_t size;
    std::byte* data;
    bool writable;
  };
  using Snapshot = std::vector<Entry>;  // ascending, no overlap
  struct Region;

  Result<uint32_t> free_slot_locked();
  Result<PhysAddr> find_hole_locked(uint64_t size) const;
  void insert_locked(uint32_t index, std::unique_ptr<Region> region);
  void insert_entry_locked(const Entry& added);
  void publish_locked(std::unique_ptr<const Snapshot> next);

  const BusMemory& bus_;
  mutable std::mutex mutex_;                                         // of everything below but snapshot_
  std::vector<std::unique_ptr<Region>> regions_;                     // by index; null: free
  std::unordered_map<uint32_t, std::shared_ptr<Backing>> backings_;  // by fd_id
  std::vector<Gate*> gates_;
  uint32_t next_fd_id_ = 0;
  uint32_t first_free_ = 0;  // no slot below it is free
  std::atomic<const Snapshot*> snapshot_;
};

}  // namespace causeway::machine
