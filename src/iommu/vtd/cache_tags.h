// Where a domain's translations may be cached: the IOTLB of each unit it is attached through, under which ids, and the
// device-TLB of each device with ATS (struct cache_tag).
//
//   tags.add(CacheTag::iotlb(unit, did, kNoPasid));
//   tags.flush_pages(Iova{0x10000}, KiB(64), Hint::kLeafOnly);
//
// Sorted by unit, so that each unit gets what is for it in one submission, the IOTLB before the device-TLBs, which are filled
// from it. Thread-safe: a flush takes what there is when it begins, and it begins after the caller has changed the tables. A
// device whose tag is added before it can find the tables misses nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "iommu/vtd/flush.h"
#include "iommu/vtd/stage.h"
#include "sync/guarded.h"

namespace causeway::iommu::vtd {

class VtdUnit;

struct CacheTag {
  enum class Kind : uint8_t { kIotlb, kDeviceTlb };
  VtdUnit* unit = nullptr;
  Kind kind = Kind::kIotlb;
  DomainId domain{0};
  Pasid pasid = kNoPasid;
  Bdf source;                // kDeviceTlb
  unsigned queue_depth = 0;  // kDeviceTlb
  unsigned users = 1;

  bool same(const CacheTag& other) const {
    return unit == other.unit && kind == other.kind && domain == other.domain && pasid == other.pasid &&
           source == other.source;
  }
};

class CacheTags {
 public:
  explicit CacheTags(Stage stage) : stage_(stage) {}

  void add(const CacheTag& tag);     // one more user, if it is there
  void remove(const CacheTag& tag);  // one less

  void flush_pages(Iova from, uint64_t bytes, Hint hint);
  void flush_all();
  // [from, from + bytes) was not present before: what a unit may have cached of that, or has not written back yet.
  void flush_not_present(Iova from, uint64_t bytes);
  size_t size() const;

 private:
  using List = std::vector<CacheTag>;
  std::shared_ptr<const List> snapshot() const;
  void add_flush(FlushBatch& batch, const CacheTag& tag, const Iova* from, uint64_t bytes, Hint hint) const;
  void flush(const Iova* from, uint64_t bytes, Hint hint);

  const Stage stage_;
  sync::Guarded<std::shared_ptr<const List>, sync::SpinLock> list_{sync::LockName{"iommu.vtd.cache_tags"},
                                                                   std::make_shared<const List>()};
};

}  // namespace causeway::iommu::vtd
