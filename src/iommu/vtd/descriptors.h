// Builders of invalidation descriptors (VT-d 6.5.2).
//
//   QueueDescriptor one = iotlb_pages(did, cover(Iova{0x200000}, MiB(2)), Hint::kLeafOnly, true, true);
//
// What may be used when is the caller's to know (flush.h): page-selective needs caps().page_selective() and an order of
// at most caps().max_address_mask().
#pragma once

#include <cstdint>

#include "base/types.h"
#include "hw/vtd.h"
#include "iommu/domain.h"
#include "iommu/vtd/invalidator.h"

namespace causeway::iommu::vtd {

// kLeafOnly (IH): no table was freed or changed, cached pointers to tables may stay.
enum class Hint : uint8_t { kTablesToo, kLeafOnly };

// The smallest aligned 2^order pages that hold [from, from + bytes). bytes > 0; order 52: everything.
struct Cover {
  Iova base;
  unsigned order = 0;
};
Cover cover(Iova from, uint64_t bytes);
inline constexpr Cover kEverything{Iova{0}, 52};

QueueDescriptor context_global();
QueueDescriptor context_domain(DomainId domain);
// `domain`: of the entry as it was cached.
QueueDescriptor context_device(DomainId domain, Bdf source, unsigned function_mask = 0);
QueueDescriptor iotlb_global(bool drain_reads, bool drain_writes);
QueueDescriptor iotlb_domain(DomainId domain, bool drain_reads, bool drain_writes);
QueueDescriptor iotlb_pages(DomainId domain, Cover pages, Hint hint, bool drain_reads, bool drain_writes);
QueueDescriptor pasid_cache_global();
QueueDescriptor pasid_cache_domain(DomainId domain);
QueueDescriptor pasid_cache_pasid(DomainId domain, Pasid pasid);
QueueDescriptor pasid_iotlb_all(DomainId domain, Pasid pasid);
QueueDescriptor pasid_iotlb_pages(DomainId domain, Pasid pasid, Cover pages, Hint hint);
// `queue_depth`: of the device's ATS capability.
QueueDescriptor device_tlb(Bdf source, unsigned queue_depth, Cover pages);
QueueDescriptor pasid_device_tlb(Bdf source, Pasid pasid, unsigned queue_depth, Cover pages);
QueueDescriptor wait_for_status(PhysAddr status, uint32_t data);
// Stops the descriptors after it until all before it are done; with `drain`, page requests under way too.
QueueDescriptor fence(bool drain_page_requests);
QueueDescriptor page_response(Bdf source, Pasid pasid, bool has_pasid, unsigned group, hw::vtd::Response code);

// The function whose device-TLB a descriptor is for; false: it is of another type.
bool names_device(const QueueDescriptor& descriptor, Bdf* source);

}  // namespace causeway::iommu::vtd
