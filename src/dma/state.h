// What one kernel's DMA subsystem consists of. Private to the room.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "dma/allocations.h"
#include "dma/dma.h"
#include "dma/page_attributes.h"
#include "dma/pool.h"
#include "dma/record_store.h"
#include "sync/guarded.h"

namespace causeway::dma {

struct Dma::State {
  State(mm::PageAllocator& allocator_, mm::Vmalloc& vmalloc_, kho::Kho& kho_, const Config& config_)
      : allocator(allocator_),
        vmalloc(vmalloc_),
        kho(kho_),
        config(config_),
        records(sync::LockName{"dma.records"}, kho_) {}

  // Why a device's memory can neither be preserved nor be restored, whatever the allocation; null: it can.
  const char* cannot_hand_over(const DeviceTraits& traits) const;

  mm::MemMap& map() { return allocator.map(); }
  std::byte* linear(PhysAddr phys) { return map().direct_map().to_virt(phys); }

  mm::PageAllocator& allocator;
  mm::Vmalloc& vmalloc;
  kho::Kho& kho;
  const Config config;

  PageAttributes attributes;
  std::unique_ptr<AtomicPools> atomic_pools;  // null without Config::coherent_pool
  std::unique_ptr<PagePool> global_pool;      // null without Config::global_pool
  // Made when a device first needs one; kept for ever.
  sync::Guarded<std::unique_ptr<PagePool>> restricted_pool{sync::LockName{"dma.restricted_pool"}};
  sync::Guarded<std::map<std::string, std::unique_ptr<PagePool>>> device_pools{
      sync::LockName{"dma.device_pools"}};

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
};

}  // namespace causeway::dma
