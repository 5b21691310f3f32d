// What the driver has a unit forget, by name; and several of them in one submission.
//
//   Flush flush(regs, *invalidator);
//   CW_TRY(flush.flush_iotlb_pages(did, iova, KiB(64), Hint::kTablesToo));
//
//   FlushBatch batch(flush);
//   for (const CacheTag& tag : tags) batch.iotlb_pages(tag.domain, iova, size, hint);
//   CW_TRY(batch.submit());
//
// Page-selective operations cover the range with the smallest aligned power of two, and become domain-selective when
// the unit cannot do that. Everything named is gone when the call returns; errors of Invalidator::submit().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "iommu/vtd/descriptors.h"
#include "iommu/vtd/invalidator.h"

namespace causeway::iommu::vtd {

class Flush {
 public:
  // `left_out`: for negative controls, VtdFaults::left_out.
  Flush(UnitRegisters& regs, Invalidator& invalidator, const std::atomic<uint32_t>* left_out = nullptr)
      : regs_(regs), invalidator_(invalidator), left_out_(left_out) {}

  Status flush_context_global();
  Status flush_context_device(DomainId domain, Bdf source);
  Status flush_iotlb_global();
  Status flush_iotlb_domain(DomainId domain);
  Status flush_iotlb_pages(DomainId domain, Iova from, uint64_t bytes, Hint hint);
  Status flush_pasid_cache_global();
  Status flush_pasid_cache(DomainId domain, Pasid pasid);
  Status flush_pasid_iotlb_pages(DomainId domain, Pasid pasid, Iova from, uint64_t bytes, Hint hint);
  Status flush_device_tlb(Bdf source, unsigned queue_depth);

  // After set_root(): contexts, in scalable mode PASIDs, translations; in that order. Nothing of the old root is left.
  Status flush_all(TableMode mode);
  // After a table was written that could not have been cached: nothing unless the unit has a write buffer.
  Status flush_write_buffer() { return regs_.flush_write_buffer(); }

  const Capabilities& caps() const { return regs_.caps(); }
  // Errors of Invalidator::submit().
  Status submit(std::span<const QueueDescriptor> descriptors);

 private:
  Status one(const QueueDescriptor& descriptor) { return submit({&descriptor, 1}); }
  UnitRegisters& regs_;
  Invalidator& invalidator_;
  const std::atomic<uint32_t>* left_out_;
};

// Up to kSize descriptors are one submission; a full batch is submitted at once. Errors are those of the first
// submission that failed; the later ones are made all the same.
class FlushBatch {
 public:
  static constexpr unsigned kSize = 16;
  explicit FlushBatch(Flush& flush) : flush_(flush) {}
  ~FlushBatch();  // must be empty: submit()

  void context_device(DomainId domain, Bdf source);
  void iotlb_domain(DomainId domain);
  void iotlb_pages(DomainId domain, Iova from, uint64_t bytes, Hint hint);
  void pasid_cache(DomainId domain, Pasid pasid);
  void pasid_iotlb(DomainId domain, Pasid pasid);
  void pasid_iotlb_pages(DomainId domain, Pasid pasid, Iova from, uint64_t bytes, Hint hint);
  void device_tlb(Bdf source, unsigned queue_depth);
  void device_tlb_pages(Bdf source, unsigned queue_depth, Iova from, uint64_t bytes);
  void pasid_device_tlb(Bdf source, Pasid pasid, unsigned queue_depth);
  void pasid_device_tlb_pages(Bdf source, Pasid pasid, unsigned queue_depth, Iova from, uint64_t bytes);
  void add(const QueueDescriptor& descriptor);

  bool empty() const { return count_ == 0; }
  Status submit();

 private:
  void submit_full();
  Flush& flush_;
  std::array<QueueDescriptor, kSize> descriptors_;
  unsigned count_ = 0;
  Status result_;
};

}  // namespace causeway::iommu::vtd
