#include "iommu/map_domain.h"

#include <algorithm>
#include <bit>

namespace causeway::iommu {

struct MapDomain::Leaf {
  std::array<std::atomic<uint64_t>, kSlots> words{};
};
struct MapDomain::Table {
  std::array<std::atomic<void*>, kSlots> slots{};  // Leaf on level 1, Table above
};

namespace {

// Levels of tables above the leaves, so that the last page of the aperture has a place.
unsigned levels_for(uint64_t last_page, unsigned bits) {
  unsigned width = static_cast<unsigned>(std::bit_width(last_page));
  return width <= 2 * bits ? 1 : (width - 1) / bits;
}

}  // namespace

MapDomain::MapDomain(const Options& options)
    : options_(options),
      shift_(static_cast<unsigned>(std::countr_zero(options.page_sizes))),
      levels_(levels_for(options.aperture.end.value() >> shift_, kBits)),
      root_(new Table) {
  static_assert(kProtMask < kPresent);
  assert(options.page_sizes != 0 && (uint64_t{1} << shift_) > (kPresent | kProtMask));
}

MapDomain::~MapDomain() { destroy(root_, levels_); }

void MapDomain::destroy(Table* table, unsigned level) {
  for (auto& slot : table->slots) {
    void* below = slot.load(std::memory_order_relaxed);
    if (below == nullptr) continue;
    if (level == 1)
      delete static_cast<Leaf*>(below);
    else
      destroy(static_cast<Table*>(below), level - 1);
  }
  delete table;
}

MapDomain::Leaf* MapDomain::leaf_of(uint64_t page) const {
  void* at = root_;
  for (unsigned level = levels_; level > 0 && at != nullptr; --level)
    at = static_cast<Table*>(at)->slots[page >> (level * kBits) & (kSlots - 1)].load(std::memory_order_acquire);
  return static_cast<Leaf*>(at);
}

MapDomain::Leaf* MapDomain::make_leaf(uint64_t page) {
  void* at = root_;
  for (unsigned level = levels_; level > 0; --level) {
    std::atomic<void*>& slot = static_cast<Table*>(at)->slots[page >> (level * kBits) & (kSlots - 1)];
    void* below = slot.load(std::memory_order_acquire);
    if (below == nullptr) {
      void* made = level == 1 ? static_cast<void*>(new Leaf) : static_cast<void*>(new Table);
      if (slot.compare_exchange_strong(below, made, std::memory_order_acq_rel)) {
        below = made;
      } else if (level == 1) {
        delete static_cast<Leaf*>(made);
      } else {
        delete static_cast<Table*>(made);
      }
    }
    at = below;
  }
  return static_cast<Leaf*>(at);
}

bool MapDomain::in_range(Iova iova, uint64_t size) const {
  uint64_t last;
  return size != 0 && checked_add(iova.value(), size - 1, &last) && iova >= options_.aperture.start &&
         last <= options_.aperture.end.value();
}

Status MapDomain::map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) {
  for (unsigned left = fail_in_.load(std::memory_order_relaxed); left != 0;) {
    if (!fail_in_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) continue;
    if (left == 1) return fail(fail_code_.load(std::memory_order_relaxed), "made to fail");
    break;
  }
  const uint64_t granule = uint64_t{1} << shift_;
  if (((iova.value() | phys.value() | size) & (granule - 1)) != 0 || size == 0)
    return fail(EINVAL, "not whole pages of the domain");
  if (!in_range(iova, size)) return fail(ERANGE, "outside of the domain's addresses");
  if ((prot & (kRead | kWrite)) == 0 || (prot & ~kProtMask) != 0) return fail(EINVAL, "a mapping without access");
  uint64_t end;
  if (!checked_add(phys.value(), size - 1, &end) || end >> 52 != 0) return fail(ERANGE, "beyond physical memory");

  const uint64_t first = iova.value() >> shift_;
  const uint64_t count = size >> shift_;
  // Nothing is written before all of it is known to be free.
  for (uint64_t done = 0; done < count;) {
    const size_t from = (first + done) & (kSlots - 1);
    const uint64_t here = std::min<uint64_t>(kSlots - from, count - done);
    Leaf* leaf = make_leaf(first + done);
    uint64_t used = 0;
    for (size_t i = from; i < from + here; ++i) used |= leaf->words[i].load(std::memory_order_relaxed);
    if (used != 0) return fail(EADDRINUSE, "mapped already");
    done += here;
  }
  uint64_t value = phys.value() | kPresent | prot;
  for (uint64_t done = 0; done < count;) {
    const size_t from = (first + done) & (kSlots - 1);
    const uint64_t here = std::min<uint64_t>(kSlots - from, count - done);
    Leaf* leaf = leaf_of(first + done);
    for (size_t i = from; i < from + here; ++i, value += granule)
      leaf->words[i].store(value, std::memory_order_release);
    done += here;
  }
  Counters& counted = counters();
  counted.maps.fetch_add(1, std::memory_order_relaxed);
  counted.mapped.fetch_add(size, std::memory_order_relaxed);
  return {};
}

uint64_t MapDomain::unmap(Iova iova, uint64_t size, Gather& gather) {
  if (!in_range(iova, size) || ((iova.value() | size) & ((uint64_t{1} << shift_) - 1)) != 0) return 0;
  const uint64_t first = iova.value() >> shift_;
  const uint64_t count = size >> shift_;
  uint64_t done = 0;
  for (bool hole = false; done < count && !hole;) {
    Leaf* leaf = leaf_of(first + done);
    if (leaf == nullptr) break;
    const size_t from = (first + done) & (kSlots - 1);
    const uint64_t here = std::min<uint64_t>(kSlots - from, count - done);
    for (size_t i = from; i < from + here; ++i, ++done) {
      if (leaf->words[i].load(std::memory_order_relaxed) == 0) {
        hole = true;
        break;
      }
      leaf->words[i].store(0, std::memory_order_release);
    }
  }
  if (done == 0) return 0;
  gather.add(Iova(first << shift_), done << shift_);
  Counters& counted = counters();
  counted.unmaps.fetch_add(1, std::memory_order_relaxed);
  counted.mapped.fetch_sub(done << shift_, std::memory_order_relaxed);
  return done << shift_;
}

void MapDomain::forget(Iova first, Iova last, bool invalid_alone) {
  const uint64_t begin = first.value() >> shift_;
  const uint64_t end = last.value() >> shift_;
  tlb_.with([&](auto& tlb) {
    if (tlb.empty()) return;
    auto drop = [&](auto at) { return invalid_alone && at->second != 0 ? std::next(at) : tlb.erase(at); };
    if (end - begin < tlb.size()) {
      for (uint64_t page = begin; page <= end; ++page)
        if (auto at = tlb.find(page); at != tlb.end()) (void)drop(at);
      return;
    }
    for (auto at = tlb.begin(); at != tlb.end();)
      at = at->first >= begin && at->first <= end ? drop(at) : std::next(at);
  });
}

void MapDomain::sync_map(Iova iova, uint64_t size) {
  counters().sync_maps.fetch_add(1, std::memory_order_relaxed);
  if (!options_.cache_invalid || !in_range(iova, size)) return;
  forget(iova, iova + (size - 1), true);
}

void MapDomain::sync(Gather& gather) {
  counters().syncs.fetch_add(1, std::memory_order_relaxed);
  if (!gather.empty()) forget(gather.start, gather.end, false);
  gather = Gather{.queued = gather.queued};
}

void MapDomain::flush_all() {
  tlb_.with([](auto& tlb) { tlb.clear(); });
  flushes_.fetch_add(1, std::memory_order_release);
}

uint64_t MapDomain::word(uint64_t page) const {
  Leaf* leaf = leaf_of(page);
  return leaf == nullptr ? 0 : leaf->words[page & (kSlots - 1)].load(std::memory_order_acquire);
}

std::optional<MapDomain::Entry> MapDomain::find(Iova iova) const {
  if (!in_range(iova, 1)) return std::nullopt;
  const uint64_t granule = uint64_t{1} << shift_;
  const uint64_t value = word(iova.value() >> shift_);
  if (value == 0) return std::nullopt;
  return Entry{PhysAddr((value & ~(granule - 1)) | (iova.value() & (granule - 1))),
               static_cast<uint32_t>(value & kProtMask)};
}

std::optional<PhysAddr> MapDomain::iova_to_phys(Iova iova) const {
  if (options_.type == DomainType::kIdentity) return PhysAddr(iova.value());
  std::optional<Entry> entry = find(iova);
  if (!entry) return std::nullopt;
  return entry->phys;
}

void MapDomain::for_each_leaf(const std::function<bool(const IoPageTable::Leaf&)>& visit) const {
  walk(root_, levels_, 0, visit);
}

// False: the visitor has seen enough.
bool MapDomain::walk(const void* at, unsigned level, uint64_t page,
                     const std::function<bool(const IoPageTable::Leaf&)>& visit) const {
  const uint64_t granule = uint64_t{1} << shift_;
  for (size_t slot = 0; slot < kSlots; ++slot) {
    const uint64_t here = page | uint64_t{slot} << (level * kBits);
    if (level != 0) {
      const void* below = static_cast<const Table*>(at)->slots[slot].load(std::memory_order_acquire);
      if (below != nullptr && !walk(below, level - 1, here, visit)) return false;
      continue;
    }
    const uint64_t word = static_cast<const Leaf*>(at)->words[slot].load(std::memory_order_acquire);
    if (word != 0 && !visit({.iova = Iova(here << shift_),
                             .phys = PhysAddr(word & ~(granule - 1)),
                             .size = granule,
                             .prot = static_cast<uint32_t>(word & kProtMask)}))
      return false;
  }
  return true;
}

MapDomain::Run MapDomain::translate(Iova iova, uint64_t bytes, uint32_t access) {
  uint64_t last;
  if (bytes == 0 || !checked_add(iova.value(), bytes - 1, &last)) return {};
  if (options_.type == DomainType::kIdentity) return {PhysAddr(iova.value()), bytes};
  if (options_.type == DomainType::kBlocked || !in_range(iova, 1)) return {};

  const uint64_t granule = uint64_t{1} << shift_;
  // The walk and the caching of what it found are one step: a flush comes before it, and then the walk sees what the
  // unmap wrote, or after it, and then it drops the entry.
  auto lookup = [&](auto& tlb, uint64_t page) {
    auto cached = tlb.find(page);
    if (cached != tlb.end()) return cached->second;
    uint64_t found = word(page);
    if (found != 0 || options_.cache_invalid) tlb.emplace(page, found);
    return found;
  };
  return tlb_.with([&](auto& tlb) -> Run {
    const uint64_t offset = iova.value() & (granule - 1);
    uint64_t page = iova.value() >> shift_;
    uint64_t value = lookup(tlb, page);
    if ((value & access) != access) return {};
    Run run{PhysAddr((value & ~(granule - 1)) | offset), granule - offset};
    while (run.bytes < bytes && in_range(Iova((page + 1) << shift_), 1)) {
      value = lookup(tlb, ++page);
      if ((value & access) != access || (value & ~(granule - 1)) != run.phys.value() + run.bytes) break;
      run.bytes += granule;
    }
    run.bytes = std::min(run.bytes, bytes);
    return run;
  });
}

MapDomain::Counters& MapDomain::counters() { return counters_[mm::cpu_slot()]; }

MapDomain::Counts MapDomain::counts() const {
  Counts sum{.flushes = flushes_.load(std::memory_order_acquire)};
  for (const Counters& part : counters_) {
    sum.maps += part.maps.load(std::memory_order_relaxed);
    sum.unmaps += part.unmaps.load(std::memory_order_relaxed);
    sum.sync_maps += part.sync_maps.load(std::memory_order_relaxed);
    sum.syncs += part.syncs.load(std::memory_order_relaxed);
    sum.mapped_bytes += part.mapped.load(std::memory_order_relaxed);  // one may have wrapped; the sum has not
  }
  return sum;
}

void MapDomain::fail_map(unsigned nth, int code) {
  fail_code_.store(code, std::memory_order_relaxed);
  fail_in_.store(nth, std::memory_order_relaxed);
}

}  // namespace causeway::iommu
