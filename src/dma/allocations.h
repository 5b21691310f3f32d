// The live allocations of one kernel: what was handed out, how it is mapped, and whether it is
// preserved. The kernel keeps no such table and works out how memory was made when it is freed; here a
// free that does not fit its allocation is found instead of corrupting.
//
//   table.insert(allocation);
//   CW_TRY(table.mark_preserved(cpu, matches));     // from now on take() refuses it
//   Allocation gone = CW_TRY(table.take(cpu, matches));
//
// Thread-safe; split into shards by CPU address.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/result.h"
#include "base/types.h"
#include "dma/attributes.h"
#include "sync/guarded.h"

namespace causeway::dma {

class Swiotlb;

// Which part of the allocator made it, and so who takes it back.
enum class Route : uint8_t {
  kDirect,  // pages of the allocator
  kCookie,  // the same, without a kernel mapping
  kArch,    // the architecture's own allocator
  kAtomicPool,
  kGlobalPool,
  kRestricted,
  kDeviceMemory,  // the device's own coherent memory
  kIommu,         // iommu-dma: pages of any place behind bus addresses of its own
};

// Which functions made it and free it.
enum class Kind : uint8_t { kCoherent, kPages, kNoncontiguous };

struct Allocation {
  void* cpu = nullptr;
  DmaAddr handle;
  uint64_t size = 0;         // bytes asked for
  uint64_t requester = 0;    // the device
  PhysAddr phys;             // of the block
  Order order;               // of the block
  Attr attrs = Attr::kNone;  // canonical
  Route route = Route::kDirect;
  bool remapped = false;  // cpu is a vmalloc address
  bool uncached = false;  // the linear mapping was switched
  bool decrypted = false;
  bool preserved = false;
  bool contiguous = false;  // of a CMA area: only the pages asked for, each counted
  Kind kind = Kind::kCoherent;
  Swiotlb* restricted = nullptr;  // kRestricted: the pool it came from, whatever the device has by now

  uint64_t pages() const { return contiguous ? pages_for(size) : order.pages(); }
  PfnRange range() const { return {Pfn::containing(phys), Pfn::containing(phys) + pages()}; }
};

// What a caller says an allocation is.
struct Claim {
  void* cpu;
  DmaAddr handle;
  uint64_t size;
  uint64_t requester;
  Attr attrs;  // canonical
  Kind kind = Kind::kCoherent;
};

class AllocationTable {
 public:
  void insert(const Allocation& allocation);
  // A copy. EINVAL: none, or it differs from the claim.
  Result<Allocation> look_up(const Claim& claim);
  // Removes it. EINVAL: none, or it differs from the claim; EBUSY: preserved.
  Result<Allocation> take(const Claim& claim);
  // EINVAL as above, EBUSY: already. `clear_preserved` is for the one who marked it.
  Result<Allocation> mark_preserved(const Claim& claim);
  void clear_preserved(void* cpu);

  uint64_t size() const;

 private:
  using Shard = std::unordered_map<const void*, Allocation>;
  static constexpr size_t kShards = 16;
  static Result<Shard::iterator> find(Shard& shard, const Claim& claim);
  sync::Guarded<Shard>& shard_of(const void* cpu) {
    return shards_[(reinterpret_cast<uintptr_t>(cpu) >> kPageShift) % kShards];
  }
  std::array<sync::Guarded<Shard>, kShards> shards_;
};

}  // namespace causeway::dma
