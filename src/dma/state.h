// What one kernel's DMA subsystem consists of. Private to the room.
#pragma once

#include <atomic>
#include <memory>

#include "dma/allocations.h"
#include "dma/cache.h"
#include "dma/contiguous.h"
#include "dma/debug/debug.h"
#include "dma/device_memory.h"
#include "dma/dma.h"
#include "dma/p2p.h"
#include "dma/page_attributes.h"
#include "dma/pool.h"
#include "dma/record_store.h"
#include "dma/swiotlb/swiotlb.h"
#include "sync/guarded.h"

namespace causeway::dma {

struct Dma::State {
  State(mm::PageAllocator& allocator_, mm::Vmalloc& vmalloc_, kho::Kho& kho_, const Config& config_)
      : allocator(allocator_),
        vmalloc(vmalloc_),
        kho(kho_),
        config(config_),
        contiguous(allocator_),
        records(sync::LockName{"dma.records"}, kho_) {}

  // Why a device's memory can neither be preserved nor be restored, whatever the allocation; null: it can.
  const char* cannot_hand_over(const Device& device) const;

  mm::MemMap& map() { return allocator.map(); }
  std::byte* linear(PhysAddr phys) { return map().direct_map().to_virt(phys); }

  mm::PageAllocator& allocator;
  mm::Vmalloc& vmalloc;
  kho::Kho& kho;
  const Config config;

  PageAttributes attributes;
  Cache cache;
  P2pRegistry p2p;
  std::unique_ptr<Swiotlb> swiotlb;  // the system's bounce buffers; null: none
  std::unique_ptr<Debug> debug;      // dma-debug; null: off
  Contiguous contiguous;
  DeviceMemories device_memories;
  std::unique_ptr<AtomicPools> atomic_pools;  // null without Config::coherent_pool
  std::unique_ptr<PagePool> global_pool;      // null without Config::global_pool
  // Made for the first device that has one (restricted_swiotlb); kept for ever.
  struct RestrictedPools {
    std::unique_ptr<Swiotlb> encrypted, decrypted;
  };
  sync::Guarded<RestrictedPools> restricted_pools{sync::LockName{"dma.restricted_pool"}};

  AllocationTable allocations;
  // Lock order: records, then KHO's own mutex. Never held while memory is mapped.
  sync::Guarded<RecordStore> records;

  std::atomic<uint64_t> preserved{0};
  std::atomic<uint64_t> restored{0};
  std::atomic<uint64_t> leaked{0};
  std::atomic<uint64_t> leaked_pages{0};
  std::atomic<uint64_t> withheld_pages{0};
  std::atomic<bool> fault_short_preserve{false};
  std::atomic<bool> fault_restore_split{false};
  std::atomic<MapFault> map_fault{MapFault::kNone};
};

// The pool of all devices with DeviceTraits::restricted_pool: their streaming maps and their coherent memory. Decrypted
// for those that need it so. Never null: if it cannot be made, it is one that is always full.
Swiotlb* restricted_swiotlb(Dma::State& state, bool cc_shared);

}  // namespace causeway::dma
