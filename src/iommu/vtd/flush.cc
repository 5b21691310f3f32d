#include "iommu/vtd/flush.h"

#include <cassert>
#include <vector>

namespace causeway::iommu::vtd {
namespace {

bool can_select(const Capabilities& caps, const Cover& pages) {
  return caps.page_selective() && pages.order <= caps.max_address_mask();
}

// Reads and writes that are under way with the old translation are waited for, where the unit can.
QueueDescriptor whole_domain(const Capabilities& caps, DomainId domain) {
  return iotlb_domain(domain, caps.drains_reads(), caps.drains_writes());
}

QueueDescriptor pages_of_domain(const Capabilities& caps, DomainId domain, Iova from, uint64_t bytes, Hint hint) {
  Cover pages = cover(from, bytes);
  if (!can_select(caps, pages)) return whole_domain(caps, domain);
  return iotlb_pages(domain, pages, hint, caps.drains_reads(), caps.drains_writes());
}

QueueDescriptor pages_of_pasid(const Capabilities& caps, DomainId domain, Pasid pasid, Iova from, uint64_t bytes,
                               Hint hint) {
  Cover pages = cover(from, bytes);
  if (!can_select(caps, pages)) return pasid_iotlb_all(domain, pasid);
  return pasid_iotlb_pages(domain, pasid, pages, hint);
}

}  // namespace

Status Flush::submit(std::span<const QueueDescriptor> descriptors) {
  const uint32_t left_out = left_out_ == nullptr ? 0 : left_out_->load(std::memory_order_relaxed);
  if (left_out == 0) return invalidator_.submit(descriptors);
  std::vector<QueueDescriptor> sent;
  for (const QueueDescriptor& descriptor : descriptors)
    if ((left_out >> hw::vtd::DescriptorType::get(descriptor.w[0]) & 1) == 0) sent.push_back(descriptor);
  return sent.empty() ? Status{} : invalidator_.submit(sent);
}

Status Flush::flush_context_global() { return one(context_global()); }
Status Flush::flush_context_device(DomainId domain, Bdf source) { return one(context_device(domain, source)); }

Status Flush::flush_iotlb_global() { return one(iotlb_global(caps().drains_reads(), caps().drains_writes())); }
Status Flush::flush_iotlb_domain(DomainId domain) { return one(whole_domain(caps(), domain)); }
Status Flush::flush_iotlb_pages(DomainId domain, Iova from, uint64_t bytes, Hint hint) {
  return one(pages_of_domain(caps(), domain, from, bytes, hint));
}

Status Flush::flush_pasid_cache_global() { return one(pasid_cache_global()); }
Status Flush::flush_pasid_cache(DomainId domain, Pasid pasid) { return one(pasid_cache_pasid(domain, pasid)); }
Status Flush::flush_pasid_iotlb_pages(DomainId domain, Pasid pasid, Iova from, uint64_t bytes, Hint hint) {
  return one(pages_of_pasid(caps(), domain, pasid, from, bytes, hint));
}

Status Flush::flush_device_tlb(Bdf source, unsigned queue_depth) {
  return one(device_tlb(source, queue_depth, kEverything));
}

Status Flush::flush_all(TableMode mode) {
  CW_TRY(flush_context_global());
  if (mode == TableMode::kScalable) CW_TRY(flush_pasid_cache_global());
  return flush_iotlb_global();
}

FlushBatch::~FlushBatch() { assert(count_ == 0); }

void FlushBatch::context_device(DomainId domain, Bdf source) { add(vtd::context_device(domain, source)); }
void FlushBatch::iotlb_domain(DomainId domain) { add(whole_domain(flush_.caps(), domain)); }
void FlushBatch::iotlb_pages(DomainId domain, Iova from, uint64_t bytes, Hint hint) {
  add(pages_of_domain(flush_.caps(), domain, from, bytes, hint));
}
void FlushBatch::pasid_cache(DomainId domain, Pasid pasid) { add(pasid_cache_pasid(domain, pasid)); }
void FlushBatch::pasid_iotlb(DomainId domain, Pasid pasid) { add(pasid_iotlb_all(domain, pasid)); }
void FlushBatch::pasid_iotlb_pages(DomainId domain, Pasid pasid, Iova from, uint64_t bytes, Hint hint) {
  add(pages_of_pasid(flush_.caps(), domain, pasid, from, bytes, hint));
}
void FlushBatch::device_tlb(Bdf source, unsigned queue_depth) {
  add(vtd::device_tlb(source, queue_depth, kEverything));
}
void FlushBatch::device_tlb_pages(Bdf source, unsigned queue_depth, Iova from, uint64_t bytes) {
  add(vtd::device_tlb(source, queue_depth, cover(from, bytes)));
}
void FlushBatch::pasid_device_tlb(Bdf source, Pasid pasid, unsigned queue_depth) {
  add(vtd::pasid_device_tlb(source, pasid, queue_depth, kEverything));
}
void FlushBatch::pasid_device_tlb_pages(Bdf source, Pasid pasid, unsigned queue_depth, Iova from, uint64_t bytes) {
  add(vtd::pasid_device_tlb(source, pasid, queue_depth, cover(from, bytes)));
}

void FlushBatch::add(const QueueDescriptor& descriptor) {
  if (count_ == kSize) submit_full();
  descriptors_[count_++] = descriptor;
}

void FlushBatch::submit_full() {
  Status status = flush_.submit({descriptors_.data(), count_});
  count_ = 0;
  if (result_ && !status) result_ = status;
}

Status FlushBatch::submit() {
  if (count_ != 0) submit_full();
  return std::exchange(result_, Status{});
}

}  // namespace causeway::iommu::vtd
