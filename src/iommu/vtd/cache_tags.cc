#include "iommu/vtd/cache_tags.h"

#include <algorithm>
#include <atomic>
#include <tuple>

#include "base/log.h"
#include "iommu/vtd/unit.h"

namespace causeway::iommu::vtd {

namespace {

bool before(const CacheTag& a, const CacheTag& b) {
  auto key = [](const CacheTag& tag) {
    return std::tuple(tag.unit->index(), tag.kind, tag.domain, tag.pasid, tag.source);
  };
  return key(a) < key(b);
}

void complain(const VtdUnit& unit, const Status& flushed) {
  if (!flushed) log::error("iommu", "{}: an invalidation failed: {}", unit.name(), to_string(flushed.error()));
}

}  // namespace

std::shared_ptr<const CacheTags::List> CacheTags::snapshot() const {
  // Orders what the caller wrote to the tables before the look at who may have cached them.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return list_.with([](const auto& list) { return list; });
}

size_t CacheTags::size() const { return snapshot()->size(); }

void CacheTags::add(const CacheTag& tag) {
  auto next = std::make_shared<List>(*snapshot());
  auto at = std::find_if(next->begin(), next->end(), [&](const CacheTag& have) { return have.same(tag); });
  if (at != next->end()) {
    at->users += 1;
  } else {
    next->insert(std::upper_bound(next->begin(), next->end(), tag, before), tag);
  }
  list_.with([&](auto& list) { list = std::move(next); });
}

void CacheTags::remove(const CacheTag& tag) {
  auto next = std::make_shared<List>(*snapshot());
  auto at = std::find_if(next->begin(), next->end(), [&](const CacheTag& have) { return have.same(tag); });
  if (at == next->end()) return;
  if (--at->users == 0) next->erase(at);
  list_.with([&](auto& list) { list = std::move(next); });
}

void CacheTags::add_flush(FlushBatch& batch, const CacheTag& tag, const Iova* from, uint64_t bytes, Hint hint) const {
  if (tag.kind == CacheTag::Kind::kDeviceTlb) {
    // With translation off a device has nothing cached, and the unit nothing to pass the invalidation on with.
    if (!tag.unit->regs().translation_enabled()) return;
    if (tag.pasid == kNoPasid) {
      from == nullptr ? batch.device_tlb(tag.source, tag.queue_depth)
                      : batch.device_tlb_pages(tag.source, tag.queue_depth, *from, bytes);
    } else {
      from == nullptr ? batch.pasid_device_tlb(tag.source, tag.pasid, tag.queue_depth)
                      : batch.pasid_device_tlb_pages(tag.source, tag.pasid, tag.queue_depth, *from, bytes);
    }
  } else if (stage_ == Stage::kFirst) {
    from == nullptr ? batch.pasid_iotlb(tag.domain, tag.pasid)
                    : batch.pasid_iotlb_pages(tag.domain, tag.pasid, *from, bytes, hint);
  } else {
    from == nullptr ? batch.iotlb_domain(tag.domain) : batch.iotlb_pages(tag.domain, *from, bytes, hint);
  }
}

void CacheTags::flush(const Iova* from, uint64_t bytes, Hint hint) {
  std::shared_ptr<const List> tags = snapshot();
  for (auto at = tags->begin(); at != tags->end();) {
    VtdUnit* unit = at->unit;
    const bool skip = unit->environment().skip_flush.load(std::memory_order_relaxed);
    FlushBatch batch(unit->flush());
    for (; at != tags->end() && at->unit == unit; ++at)
      if (!skip) add_flush(batch, *at, from, bytes, hint);
    if (!batch.empty()) complain(*unit, batch.submit());
  }
}

void CacheTags::flush_pages(Iova from, uint64_t bytes, Hint hint) { flush(&from, bytes, hint); }
void CacheTags::flush_all() { flush(nullptr, 0, Hint::kTablesToo); }

void CacheTags::flush_not_present(Iova from, uint64_t bytes) {
  std::shared_ptr<const List> tags = snapshot();
  for (auto at = tags->begin(); at != tags->end();) {
    VtdUnit* unit = at->unit;
    FlushBatch batch(unit->flush());
    // Caching mode is of the second stage: what the first one refuses is never kept (spec 3.1).
    const bool cached = unit->caps().caching_mode() && stage_ == Stage::kSecond &&
                        !unit->environment().skip_flush.load(std::memory_order_relaxed);
    for (; at != tags->end() && at->unit == unit; ++at)
      if (cached && at->kind == CacheTag::Kind::kIotlb) add_flush(batch, *at, &from, bytes, Hint::kTablesToo);
    complain(*unit, batch.empty() ? unit->flush().flush_write_buffer() : batch.submit());
  }
}

}  // namespace causeway::iommu::vtd
