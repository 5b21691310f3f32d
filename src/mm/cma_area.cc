// One CMA area: handing pages out and taking them back.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "mm/cma.h"

namespace causeway::mm {

using sync::MutexLock;
using sync::SpinLockGuard;

CmaArea::CmaArea(std::string name, unsigned order_per_bit, std::vector<PfnRange> ranges, bool reserve_on_error)
    : name_(std::move(name)),
      order_per_bit_(order_per_bit),
      declared_(std::move(ranges)),
      reserve_on_error_(reserve_on_error) {}

uint64_t CmaArea::pages() const {
  SpinLockGuard guard(lock_);
  return pages_;
}

uint64_t CmaArea::available() const {
  SpinLockGuard guard(lock_);
  return available_;
}

uint64_t CmaArea::clear_bits() const {
  SpinLockGuard guard(lock_);
  uint64_t bits = 0;
  for (const CmaBitmap& bitmap : bitmaps_) bits += bitmap.clear_bits();
  return bits;
}

std::vector<PfnRange> CmaArea::ranges() const {
  return declared_;
}

Status CmaArea::check_zones() const {
  for (PfnRange range : declared_)
    if (zone_of(range.begin) != zone_of(range.end - 1)) return fail(EINVAL, "a range of the area crosses zones");
  return {};
}

void CmaArea::activate(PageAllocator& allocator) {
  SpinLockGuard guard(lock_);
  allocator_ = &allocator;
  for (PfnRange range : declared_) {
    bitmaps_.emplace_back(range, order_per_bit_);
    pages_ += range.pages();
  }
  available_ = pages_;
}

Result<Page*> CmaArea::take(PfnRange frames) {
  CW_FAIL_POINT("mm.cma.take");
  return allocator_->alloc_contig_range(frames);
}

Result<Page*> CmaArea::alloc_in(size_t range, uint64_t count, Order alignment) {
  bool busy = false;
  Pfn from;
  for (;;) {
    Pfn at;
    {
      SpinLockGuard guard(lock_);
      if (count > available_) return fail(ENOMEM, "fewer pages are available in the area");
      std::optional<Pfn> place = bitmaps_[range].find(from, count, alignment);
      if (!place) return busy ? fail(EBUSY, "every free place is in use") : fail(ENOMEM, "no free place of that size");
      at = *place;
      bitmaps_[range].set(at, count);
      available_ -= count;
      from = at + bitmaps_[range].step(alignment);
    }
    Result<Page*> taken = [&] {
      MutexLock lock(alloc_mutex_);
      return take({at, at + count});
    }();
    if (taken) return taken;
    {
      SpinLockGuard guard(lock_);
      bitmaps_[range].clear(at, count);
      available_ += count;
    }
    if (taken.error().code != Errno{EBUSY}) return taken;
    busy = true;
  }
}

Result<Page*> CmaArea::alloc(uint64_t count, Order alignment, Gfp gfp) {
  if (count == 0) return fail(EINVAL, "no pages");
  size_t ranges = 0;
  {
    SpinLockGuard guard(lock_);
    if (pages_ == 0) return fail(EINVAL, "the area is not active");
    ranges = bitmaps_.size();
  }
  Result<Page*> taken = fail(ENOMEM, "no range");
  bool busy = false;
  for (size_t range = 0; range < ranges; ++range) {
    taken = alloc_in(range, count, alignment);
    if (taken) return taken;
    busy = busy || taken.error().code == Errno{EBUSY};
    if (taken.error().code != Errno{EBUSY} && taken.error().code != Errno{ENOMEM}) break;
  }
  if (!has(gfp, Gfp::kNoWarn))
    log::warn("mm", "{}: no {} pages aligned to order {}, {} of {} available: {}", name_, count, alignment,
              available(), pages(), taken.error().message);
  if (busy && taken.error().code == Errno{ENOMEM}) return fail(EBUSY, "every free place is in use");
  return taken;
}

CmaBitmap* CmaArea::find(Pfn first, uint64_t count) {
  auto found =
      std::ranges::find_if(bitmaps_, [&](const CmaBitmap& bitmap) { return bitmap.fits(first, count); });
  return found == bitmaps_.end() ? nullptr : &*found;
}

bool CmaArea::release(Page* first, uint64_t count) {
  Pfn pfn;
  {
    SpinLockGuard guard(lock_);
    if (allocator_ == nullptr) return false;
    pfn = allocator_->map().pfn(first);
    CmaBitmap* bitmap = find(pfn, count);
    if (bitmap == nullptr) return false;
    if (!bitmap->all_set(pfn, count)) {
      log::warn("mm", "{}: {} pages at {} are released, and were not allocated", name_, count, pfn);
      return false;
    }
  }
  // The caller's word that nobody uses them counts: whoever still has a reference finds a page that is not his any more.
  uint64_t in_use = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (first[i].count() <= 1) continue;
    ++in_use;
    first[i].set_count(1);
  }
  if (in_use != 0)
    log::warn("mm", "{}: {} page{} still referenced when released", name_, in_use, in_use == 1 ? " is" : "s are");
  allocator_->free_contig(first, count);
  SpinLockGuard guard(lock_);
  CmaBitmap* bitmap = find(pfn, count);
  bitmap->clear(pfn, count);
  available_ += count;
  return true;
}

}  // namespace causeway::mm
