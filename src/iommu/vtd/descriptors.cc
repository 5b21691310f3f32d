#include "iommu/vtd/descriptors.h"

#include <bit>

namespace causeway::iommu::vtd {

using namespace hw::vtd;

namespace {

QueueDescriptor words(uint64_t first, uint64_t second = 0) { return {{first, second, 0, 0}}; }
uint64_t domain_field(DomainId domain) { return DescriptorDomain::make(static_cast<uint16_t>(domain)); }
uint64_t head(Type type, uint64_t granularity) {
  return DescriptorType::make(type) | DescriptorGranularity::make(granularity);
}
uint64_t range_word(Cover pages, Hint hint) {
  return (pages.base.value() & kAddressMask) | IvaHint::make(hint == Hint::kLeafOnly ? 1 : 0) |
         IvaMask::make(pages.order < IvaMask::kMax ? pages.order : IvaMask::kMax);
}
uint64_t drain(bool reads, bool writes) {
  return IotlbDescriptorDrainReads::make(reads) | IotlbDescriptorDrainWrites::make(writes);
}

// A device-TLB's range of 2^order pages: with S set, the bits below the lowest zero of the address say how large.
// Everything is all bits but the highest.
uint64_t sized_address(Cover pages, uint64_t size_bit) {
  if (pages.order == 0) return pages.base.value() & kAddressMask;
  uint64_t ones = pages.order >= 52 ? ~uint64_t{0} >> 1 : (uint64_t{1} << (kPageShift + pages.order - 1)) - 1;
  return ((pages.base.value() | ones) & kAddressMask) | size_bit;
}

}  // namespace

Cover cover(Iova from, uint64_t bytes) {
  uint64_t first = from.value() >> kPageShift;
  uint64_t last_byte;
  if (!checked_add(from.value(), bytes - 1, &last_byte)) return kEverything;
  // Bits in which the first and the last page differ lie inside the range, and those below the highest such.
  uint64_t differ = first ^ (last_byte >> kPageShift);
  auto order = static_cast<unsigned>(std::bit_width(differ));
  if (order >= 52) return kEverything;
  return {Iova(first >> order << order << kPageShift), order};
}

QueueDescriptor context_global() { return words(head(kContextCache, kGlobal)); }
QueueDescriptor context_domain(DomainId domain) { return words(head(kContextCache, kDomain) | domain_field(domain)); }
QueueDescriptor context_device(DomainId domain, Bdf source, unsigned function_mask) {
  return words(head(kContextCache, kDevice) | domain_field(domain) | ContextCacheSource::make(source.value()) |
          ContextCacheMask::make(function_mask));
}

QueueDescriptor iotlb_global(bool drain_reads, bool drain_writes) {
  return words(head(kIotlb, kGlobal) | drain(drain_reads, drain_writes));
}
QueueDescriptor iotlb_domain(DomainId domain, bool drain_reads, bool drain_writes) {
  return words(head(kIotlb, kDomain) | domain_field(domain) | drain(drain_reads, drain_writes));
}
QueueDescriptor iotlb_pages(DomainId domain, Cover pages, Hint hint, bool drain_reads, bool drain_writes) {
  return words(head(kIotlb, kPage) | domain_field(domain) | drain(drain_reads, drain_writes), range_word(pages, hint));
}

QueueDescriptor pasid_cache_global() { return words(head(kPasidCache, kCacheGlobal)); }
QueueDescriptor pasid_cache_domain(DomainId domain) {
  return words(head(kPasidCache, kCacheDomain) | domain_field(domain));
}
QueueDescriptor pasid_cache_pasid(DomainId domain, Pasid pasid) {
  return words(head(kPasidCache, kCachePasid) | domain_field(domain) | DescriptorPasid::make(pasid));
}

QueueDescriptor pasid_iotlb_all(DomainId domain, Pasid pasid) {
  return words(head(kPasidIotlb, kPasidAll) | domain_field(domain) | DescriptorPasid::make(pasid));
}
QueueDescriptor pasid_iotlb_pages(DomainId domain, Pasid pasid, Cover pages, Hint hint) {
  return words(head(kPasidIotlb, kPasidPage) | domain_field(domain) | DescriptorPasid::make(pasid),
               range_word(pages, hint));
}

QueueDescriptor device_tlb(Bdf source, unsigned queue_depth, Cover pages) {
  return words(DescriptorType::make(kDeviceTlb) | DeviceTlbSource::make(source.value()) |
              DeviceTlbDepth::make(queue_depth & DeviceTlbDepth::kMax),
          sized_address(pages, DeviceTlbSize::kMask));
}
QueueDescriptor pasid_device_tlb(Bdf source, Pasid pasid, unsigned queue_depth, Cover pages) {
  using Depth = Field<8, 4>;
  return words(DescriptorType::make(kPasidDeviceTlb) | Depth::make(queue_depth & Depth::kMax) |
              PasidDeviceTlbSource::make(source.value()) | DescriptorPasid::make(pasid),
          sized_address(pages, PasidDeviceTlbSize::kMask));
}

QueueDescriptor wait_for_status(PhysAddr status, uint32_t data) {
  return words(DescriptorType::make(kWait) | WaitStatusWrite::make(1) | WaitData::make(data), status.value());
}
QueueDescriptor fence(bool drain_page_requests) {
  return words(DescriptorType::make(kWait) | WaitFence::make(1) | WaitPageDrain::make(drain_page_requests));
}
QueueDescriptor page_response(Bdf source, Pasid pasid, bool has_pasid, unsigned group, Response code) {
  return words(DescriptorType::make(kPageGroupResponse) | ResponsePasidPresent::make(has_pasid) |
                   ResponseCode::make(code) | ResponseSource::make(source.value()) |
                   DescriptorPasid::make(has_pasid ? pasid : 0),
               ResponseGroup::make(group));
}

bool names_device(const QueueDescriptor& descriptor, Bdf* source) {
  switch (DescriptorType::get(descriptor.w[0])) {
    case kDeviceTlb:
      *source = Bdf(static_cast<uint16_t>(DeviceTlbSource::get(descriptor.w[0])));
      return true;
    case kPasidDeviceTlb:
      *source = Bdf(static_cast<uint16_t>(PasidDeviceTlbSource::get(descriptor.w[0])));
      return true;
    default:
      return false;
  }
}

}  // namespace causeway::iommu::vtd
