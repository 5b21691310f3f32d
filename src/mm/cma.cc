// Which CMA areas there are: where early ones are put, and how dynamic ones come and go.
#include "mm/cma.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "base/log.h"

namespace causeway::mm {

using sync::MutexLock;

namespace {

PfnRange frames_of(PhysAddr base, uint64_t size) {
  return {Pfn::containing(base), Pfn::containing(base) + (size >> kPageShift)};
}

Status check_name(const std::string& name) {
  if (name.size() > kCmaMaxName) return fail(EINVAL, "the area's name is too long");
  // A name ends up in one line of a log or of sysfs.
  if (std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return fail(EINVAL, "the area's name has control characters");
  return {};
}

Status check_bits(uint64_t size, unsigned order_per_bit) {
  if (size == 0) return fail(EINVAL, "an area of no size");
  if (order_per_bit >= 64 - kPageShift || !is_aligned(size, kPageSize << order_per_bit))
    return fail(EINVAL, "the area's size is not whole bits");
  return {};
}

Status check_aligned(PhysAddr base, uint64_t size) {
  uint64_t end;
  if (!base.is_aligned(kCmaMinAlignment) || !is_aligned(size, kCmaMinAlignment))
    return fail(EINVAL, "the area is not aligned to pageblocks");
  if (!checked_add(base.value(), size, &end)) return fail(EINVAL, "the area wraps");
  return {};
}

uint64_t alignment_of(const CmaSpec& spec) {
  return std::max(spec.alignment, kCmaMinAlignment);
}

// The part of a free range in which an area may lie, cut to `alignment`.
MemRange usable(MemRange free, PhysAddr lowest, PhysAddr limit, uint64_t alignment) {
  uint64_t begin = std::max(free.base, lowest).value();
  // `limit` is inclusive of its last byte only when it is all ones: nothing ends behind that.
  uint64_t end = align_down(std::min(free.end(), limit).value(), alignment);
  if (begin > ~uint64_t{0} - alignment) return {};
  begin = align_up(begin, alignment);
  return begin < end ? MemRange{PhysAddr(begin), end - begin} : MemRange{};
}

std::optional<PhysAddr> lowest_fit(const BootMemory& boot, uint64_t size, PhysAddr lowest, PhysAddr limit,
                                   uint64_t alignment) {
  std::optional<PhysAddr> found;
  boot.for_each_free([&](MemRange free) {
    MemRange part = usable(free, lowest, limit, alignment);
    if (!found && part.size >= size) found = part.base;
  });
  return found;
}

Result<PhysAddr> find_one(BootMemory& boot, const CmaSpec& spec, uint64_t size) {
  const uint64_t alignment = alignment_of(spec);
  if (spec.place == CmaSpec::Place::kExactly) {
    if (!boot.is_memory(spec.base, size)) return fail(ENOMEM, "no memory at the exact place");
    if (boot.is_reserved(spec.base, size)) return fail(EBUSY, "the exact place is reserved");
    CW_TRY(boot.reserve({spec.base, size}));
    return spec.base;
  }
  // In a kexec'd boot what is free is not known yet; allocate() knows where it may look.
  if (!boot.restricted()) {
    // Above 4 GiB first: memory below is wanted by devices that reach no further.
    for (PhysAddr lowest : {std::max(spec.base, kDma32Limit), spec.base}) {
      auto found = lowest_fit(boot, size, std::max(lowest, PhysAddr{kPageSize}), spec.limit, alignment);
      if (!found) continue;
      CW_TRY(boot.reserve({*found, size}));
      return *found;
    }
    return fail(ENOMEM, "no free range for the area");
  }
  PhysAddr base = CW_TRY(boot.allocate(size, alignment, BootMemory::Direction::kBottomUp, spec.limit));
  if (base >= spec.base) return base;
  CW_TRY(boot.release({base, size}));
  return fail(ENOMEM, "no free range for the area");
}

// The fewest ranges above 4 GiB that hold `size` together, ascending. Empty: there are not.
std::vector<MemRange> find_many(const BootMemory& boot, const CmaSpec& spec, uint64_t size) {
  std::vector<MemRange> free;
  boot.for_each_free([&](MemRange range) {
    MemRange part = usable(range, std::max(spec.base, kDma32Limit), spec.limit, alignment_of(spec));
    if (part.size != 0) free.push_back(part);
  });
  std::ranges::stable_sort(free, std::greater{}, &MemRange::size);
  if (free.size() > kCmaMaxRanges) free.resize(kCmaMaxRanges);
  std::vector<MemRange> chosen;
  for (MemRange range : free) {
    if (size == 0) break;
    range.size = std::min(range.size, size);
    size -= range.size;
    chosen.push_back(range);
  }
  if (size != 0) return {};
  std::ranges::sort(chosen, {}, &MemRange::base);
  return chosen;
}

bool all_reserved(const PageAllocator& allocator, PfnRange range) {
  for (Pfn pfn = range.begin; pfn < range.end; ++pfn)
    if (allocator.state(pfn) != FrameState::kReserved) return false;
  return true;
}

}  // namespace

Status Cma::check_new(const CmaSpec& spec) const {
  {
    MutexLock lock(mutex_);
    if (early_.size() >= max_early_areas_) return fail(ENOSPC, "the table of areas is full");
  }
  if (spec.size == 0) return fail(EINVAL, "an area of no size");
  if (spec.alignment != 0 && !is_power_of_two(spec.alignment)) return fail(EINVAL, "alignment is not a power of two");
  uint64_t end;
  const uint64_t alignment = alignment_of(spec);
  if (spec.size > ~uint64_t{0} - alignment) return fail(EINVAL, "the area wraps");
  const uint64_t size = align_up(spec.size, alignment);
  if (spec.place == CmaSpec::Place::kExactly) {
    if (!spec.base.is_aligned(alignment)) return fail(EINVAL, "the exact base is not aligned");
    if (!checked_add(spec.base.value(), size, &end) || end > spec.limit.value())
      return fail(EINVAL, "the area ends beyond its limit");
  }
  CW_TRY(check_bits(size, spec.order_per_bit));
  return check_name(spec.name);
}

Result<CmaArea*> Cma::add_early(std::string name, unsigned order_per_bit, std::vector<PfnRange> ranges,
                                bool reserve_on_error) {
  MutexLock lock(mutex_);
  if (name.empty()) name = fmt::format("cma{}", named_++);
  early_.push_back(
      std::unique_ptr<CmaArea>(new CmaArea(std::move(name), order_per_bit, std::move(ranges), reserve_on_error)));
  return early_.back().get();
}

Result<CmaArea*> Cma::declare(BootMemory& boot, const CmaSpec& spec) {
  CW_TRY(check_new(spec));
  const uint64_t size = align_up(spec.size, alignment_of(spec));
  PhysAddr base = CW_TRY(find_one(boot, spec, size));
  return add_early(spec.name, spec.order_per_bit, {frames_of(base, size)}, spec.reserve_on_error);
}

Result<CmaArea*> Cma::declare_multi(BootMemory& boot, const CmaSpec& spec) {
  Result<CmaArea*> one = declare(boot, spec);
  if (one || one.error().code != Errno{ENOMEM} || boot.restricted()) return one;
  std::vector<MemRange> chosen = find_many(boot, spec, align_up(spec.size, alignment_of(spec)));
  if (chosen.empty()) return fail(ENOMEM, "not enough free memory above 4 gib in few enough ranges");
  std::vector<PfnRange> ranges;
  for (MemRange range : chosen) {
    CW_TRY(check_bits(range.size, spec.order_per_bit));
    ranges.push_back(frames_of(range.base, range.size));
  }
  CW_TRY(boot.reserve_all(chosen, Reservation::kNormal));
  return add_early(spec.name, spec.order_per_bit, std::move(ranges), spec.reserve_on_error);
}

Result<CmaArea*> Cma::init_reserved(BootMemory& boot, PhysAddr base, uint64_t size, unsigned order_per_bit,
                                    std::string name) {
  CW_TRY(check_new({.name = name, .size = size, .order_per_bit = order_per_bit}));
  CW_TRY(check_aligned(base, size));
  std::vector<MemRange> reserved = boot.reserved(Reservation::kNormal);
  bool inside = std::ranges::any_of(
      reserved, [&](MemRange range) { return range.base <= base && base + size <= range.end(); });
  if (!inside || !boot.is_memory(base, size)) return fail(EINVAL, "the memory is not reserved");
  return add_early(std::move(name), order_per_bit, {frames_of(base, size)}, false);
}

void Cma::activate(PageAllocator& allocator) {
  MutexLock lock(mutex_);
  for (auto& area : early_) {
    if (area->active()) continue;
    const Status fits = area->check_zones();
    if (!fits) log::warn("mm", "{}: not activated: {}", area->name(), fits.error().message);
    if (!fits && area->reserve_on_error_) continue;
    for (PfnRange range : area->declared_)
      allocator.release_reserved(range, fits ? MigrateType::kCma : MigrateType::kMovable);
    if (fits) area->activate(allocator);
  }
  auto given_up = std::ranges::stable_partition(early_, [](const auto& area) { return area->active(); });
  std::ranges::move(given_up, std::back_inserter(given_up_));
  early_.erase(given_up.begin(), given_up.end());
}

Result<CmaArea*> Cma::add_dynamic(PageAllocator& allocator, std::string name, unsigned order_per_bit,
                                  PfnRange range) {
  MutexLock lock(mutex_);
  if (name.empty()) name = fmt::format("cma{}", named_++);
  auto area = std::unique_ptr<CmaArea>(new CmaArea(std::move(name), order_per_bit, {range}, false));
  area->activate(allocator);
  dynamic_.push_back(std::move(area));
  return dynamic_.back().get();
}

Result<CmaArea*> Cma::create(PageAllocator& allocator, PhysAddr base, uint64_t size, unsigned order_per_bit,
                             std::string name) {
  CW_TRY(check_name(name));
  CW_TRY(check_bits(size, order_per_bit));
  CW_TRY(check_aligned(base, size));
  const PfnRange range = frames_of(base, size);
  if (range.end.value() > allocator.map().end_pfn() || !all_reserved(allocator, range))
    return fail(EINVAL, "the memory is not reserved");
  // Checked before anything is changed: an area that cannot be used is never listed.
  if (zone_of(range.begin) != zone_of(range.end - 1)) return fail(EINVAL, "a range of the area crosses zones");
  allocator.release_reserved(range, MigrateType::kCma);
  return add_dynamic(allocator, std::move(name), order_per_bit, range);
}

Result<CmaArea*> Cma::create_from_free(PageAllocator& allocator, uint64_t size, PhysAddr limit,
                                       unsigned order_per_bit, std::string name) {
  CW_TRY(check_name(name));
  if (size > ~uint64_t{0} - kCmaMinAlignment) return fail(EINVAL, "the area wraps");
  size = align_up(size, kCmaMinAlignment);
  CW_TRY(check_bits(size, order_per_bit));
  const uint64_t pages = size >> kPageShift;
  const Gfp low = limit < kDma32Limit ? Gfp::kDma32 : Gfp::kNone;
  Page* first =
      CW_TRY(allocator.alloc_contig(pages, kPageblockOrder.pages(), kGfpKernel | Gfp::kNoWarn | low));
  const Pfn begin = allocator.map().pfn(first);
  if ((begin + pages).address() - 1 > limit) {
    allocator.free_contig(first, pages);
    return fail(ENOMEM, "no free range for the area at or below its limit");
  }
  Status typed = allocator.set_pageblock_type({begin, begin + pages}, MigrateType::kCma);
  allocator.free_contig(first, pages);
  CW_TRY(std::move(typed));
  return add_dynamic(allocator, std::move(name), order_per_bit, {begin, begin + pages});
}

Status Cma::destroy(CmaArea* area) {
  MutexLock lock(mutex_);
  auto found = std::ranges::find(dynamic_, area, [](const auto& listed) { return listed.get(); });
  if (found == dynamic_.end()) return fail(EINVAL, "not a dynamic area");
  const PfnRange range = area->declared_.front();
  uint64_t bits = range.pages() >> area->order_per_bit();
  if (area->clear_bits() != bits) {
    log::warn("mm", "{}: not freed: {} of {} bits are allocated", area->name(), bits - area->clear_bits(), bits);
    return fail(EBUSY, "pages of the area are allocated");
  }
  PageAllocator& allocator = *area->allocator_;
  Page* first = CW_TRY(allocator.alloc_contig_range(range));
  Status typed = allocator.set_pageblock_type(range, MigrateType::kMovable);
  allocator.free_contig(first, range.pages());
  CW_TRY(std::move(typed));
  dynamic_.erase(found);
  return {};
}

void Cma::for_each_early_area(const std::function<void(CmaArea&)>& visit) {
  MutexLock lock(mutex_);
  for (auto& area : early_) visit(*area);
}

void Cma::for_each_area(const std::function<void(CmaArea&)>& visit) {
  MutexLock lock(mutex_);
  for (auto& area : early_) visit(*area);
  for (auto& area : dynamic_) visit(*area);
}

uint64_t Cma::total_pages() const {
  MutexLock lock(mutex_);
  uint64_t pages = 0;
  for (const auto& area : early_) pages += area->pages();
  for (const auto& area : dynamic_) pages += area->pages();
  return pages;
}

}  // namespace causeway::mm
