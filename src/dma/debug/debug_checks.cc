// What is looked at when a mapping is made, and when it goes.
#include <fmt/format.h>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/debug/debug_state.h"

namespace causeway::dma {

namespace {

// The rest are hints, which the unmap may leave out.
constexpr Attr kMustMatch = Attr::kNoKernelMapping | Attr::kForceContiguous | Attr::kMmio | Attr::kRequireCoherent |
                            Attr::kPrivileged | Attr::kCcShared;

uint64_t bits(Attr attrs) { return static_cast<uint64_t>(attrs); }

}  // namespace

const char* word_of(Direction direction) {
  switch (direction) {
    case Direction::kBidirectional: return "bidirectional";
    case Direction::kToDevice: return "to device";
    case Direction::kFromDevice: return "from device";
    case Direction::kNone: return "no direction";
  }
  return "invalid direction";
}

const char* name_of(EntryType type) {
  switch (type) {
    case EntryType::kPhys: return "phys";
    case EntryType::kSg: return "scatter-gather";
    case EntryType::kCoherent: return "coherent";
    case EntryType::kNoncoherent: return "noncoherent";
    case EntryType::kLink: return "iova link";
  }
  return "unknown";
}

const char* name_of(ErrorCheck check) {
  switch (check) {
    case ErrorCheck::kNotApplicable: return "not applicable";
    case ErrorCheck::kOwed: return "not checked";
    case ErrorCheck::kDone: return "checked";
  }
  return "unknown";
}

Debug::State::State(mm::MemMap& map_, const Options& options_)
    : map(map_),
      options(options_),
      names(options_.driver_filter),
      pool(options_.entries, options_.max_entries),
      lines(options_.cache_line),
      reporter(options_.num_errors, options_.all_errors) {
  if (options.track_init) init.emplace(map, options.init_seed);
}

bool Debug::State::record(const DebugMapping& mapping, const void* frame) {
  DebugEntry* entry = pool.take();
  if (entry == nullptr) {
    if (enabled.exchange(false, std::memory_order_relaxed))
      log::error("dma-debug", "out of memory after {} entries, disabled", pool.made());
    return false;
  }
  static_cast<DebugMapping&>(*entry) = mapping;
  entry->check = mapping.type == EntryType::kPhys ? ErrorCheck::kOwed : ErrorCheck::kNotApplicable;
  entry->stack = capture_stack(frame);
  // Into the table last: from then on an unmap can find the entry and give it back.
  LineTracker::Sharing sharing;
  if (options.track_overlap) sharing = lines.insert(entry);
  table.insert(entry);
  if (sharing.others == 0) return true;

  const bool clean = is_clean(mapping.attrs);
  if (sharing.others > LineTracker::kWarnAbove && !clean)
    CW_WARN_ONCE("dma-debug", "exceeded {} overlapping mappings of the cache line at {:#x}", LineTracker::kWarnAbove,
                 align_down(mapping.phys.value(), options.cache_line));
  if (has(mapping.attrs, Attr::kSkipCpuSync) || (clean && sharing.all_clean) || options.bounces_kmalloc) return true;
  const DebugMapping& other = *sharing.other;
  reporter.report({.error = DebugError::kCachelineOverlap,
                   .device = mapping.device,
                   .address = mapping.address,
                   .size = mapping.size,
                   .entry = &other,
                   .detail = fmt::format("phys {:#x} with device address {:#x} of {}, {} bytes", mapping.phys.value(),
                                         other.address.value(), other.device->name, other.size),
                   .frame = frame});
  return true;
}

void Debug::State::forget(DebugEntry* entry) {
  if (options.track_overlap) lines.remove(entry);
  pool.put(entry);
}

void Debug::State::unmap(const DebugMapping& wanted, const void* frame) {
  DebugEntry* found = wanted.address == kMappingError ? nullptr : table.take(wanted);
  if (found != nullptr) return finish_unmap(wanted, found, frame);
  // Entries that ran out a moment ago are no fault of the driver's.
  if (!is_enabled()) return;
  reporter.report({.error = wanted.address == kMappingError ? DebugError::kInvalidAddressFreed : DebugError::kNotAllocated,
                   .device = wanted.device,
                   .address = wanted.address,
                   .size = wanted.size,
                   .detail = fmt::format("{}, as {}", word_of(wanted.direction), name_of(wanted.type)),
                   .frame = frame});
}

void Debug::State::finish_unmap(const DebugMapping& wanted, DebugEntry* found, const void* frame) {
  auto report = [&](DebugError error, std::string detail) {
    reporter.report({error, wanted.device, wanted.address, wanted.size, found, std::move(detail), frame});
  };
  if (found->size != wanted.size)
    report(DebugError::kDifferentSize, fmt::format("mapped {} bytes, unmapped {}", found->size, wanted.size));
  if (found->type != wanted.type)
    report(DebugError::kWrongFunction,
           fmt::format("mapped as {}, unmapped as {}", name_of(found->type), name_of(wanted.type)));
  else if (found->type == EntryType::kCoherent && found->cpu != wanted.cpu)
    report(DebugError::kDifferentCpuAddress, fmt::format("allocated at {}, freed at {}", found->cpu, wanted.cpu));
  else if (found->type == EntryType::kNoncoherent && found->phys != wanted.phys)
    report(DebugError::kDifferentCpuAddress,
           fmt::format("allocated at phys {:#x}, freed at {:#x}", found->phys.value(), wanted.phys.value()));
  else if (found->type == EntryType::kSg && found->sg_count != wanted.sg_count)
    report(DebugError::kDifferentSgCount, fmt::format("mapped {} entries, unmapped {}", found->sg_count, wanted.sg_count));
  if (found->direction != wanted.direction)
    report(DebugError::kDifferentDirection,
           fmt::format("mapped {}, unmapped {}", word_of(found->direction), word_of(wanted.direction)));
  if (found->check == ErrorCheck::kOwed) report(DebugError::kMapErrorNotChecked, {});
  if ((found->attrs & kMustMatch) != (wanted.attrs & kMustMatch))
    report(DebugError::kDifferentAttributes,
           fmt::format("mapped with {:#x}, unmapped with {:#x}", bits(found->attrs), bits(wanted.attrs)));
  forget(found);
}

bool Debug::State::is_ram(Pfn pfn) const {
  if (pfn.value() >= map.end_pfn()) return false;
  if (options.is_ram) return options.is_ram(pfn);
  const mm::Page* page = map.page(pfn);
  return page->count() > 0 || page->has(~uint32_t{0});
}

void Debug::State::record_map(const DebugMapping& mapping, const void* frame) {
  check_initialised(mapping.device, mapping.phys, mapping.size, mapping.direction, mapping.attrs, frame);
  if (mapping.address == kMappingError) return;
  check_area(mapping, frame);
  record(mapping, frame);
}

void Debug::State::check_area(const DebugMapping& mapping, const void* frame) {
  if (mapping.size == 0) return;
  const Pfn first = Pfn::containing(mapping.phys);
  const Pfn last(mapping.phys.value() + (mapping.size - 1) < mapping.phys.value()
                     ? ~uint64_t{0} >> kPageShift
                     : (mapping.phys.value() + (mapping.size - 1)) >> kPageShift);
  auto report = [&](DebugError error) {
    reporter.report({error, mapping.device, mapping.address, mapping.size, nullptr,
                     fmt::format("phys {:#x}", mapping.phys.value()), frame});
  };
  if (has(mapping.attrs, Attr::kMmio)) {
    if (is_ram(first) && !map.page(first)->has(mm::kPageReserved)) report(DebugError::kResourceIsRam);
    return;
  }
  // Without is_ram only the end of the map is certain: a page of a block need not look used.
  auto is_none = [&](Pfn pfn) { return options.is_ram ? !is_ram(pfn) : pfn.value() >= map.end_pfn(); };
  if (is_none(first) || (last != first && is_none(last))) report(DebugError::kMapsInvalidArea);
}

void Debug::State::check_initialised(const DebugDevice* device, PhysAddr phys, uint64_t size, Direction direction,
                                     Attr attrs, const void* frame) {
  if (!init || !device_reads(direction) || has(attrs, Attr::kMmio) || size == 0) return;
  uint64_t last = 0;
  if (!checked_add(phys.value(), size - 1, &last) || last >> kPageShift >= map.end_pfn()) return;
  // A hole of the machine has nothing to read.
  if (options.is_ram && !(is_ram(Pfn::containing(phys)) && is_ram(Pfn(last >> kPageShift)))) return;
  std::optional<InitTracker::Run> run = init->scan(phys, size);
  if (!run) return;
  reporter.report({.error = DebugError::kUninitialised,
                   .device = device,
                   .address = kMappingError,
                   .size = size,
                   .detail = fmt::format("phys {:#x}, {} bytes, {} of them unwritten in {} runs, the first at offset {}",
                                         phys.value(), size, run->words * sizeof(uint64_t), run->runs, run->offset),
                   .frame = frame});
}

void Debug::State::check_segment(const Device& device, const DebugMapping& segment, const void* frame) {
  if (segment.size > device.max_segment_size())
    reporter.report({DebugError::kSegmentTooLong, segment.device, segment.address, segment.size, nullptr,
                     fmt::format("{} bytes, the device takes {}", segment.size, device.max_segment_size()), frame});
  const uint64_t boundary = device.segment_boundary_mask();
  if (segment.size != 0 && ((segment.address.value() ^ (segment.end() - 1)) & ~boundary) != 0)
    reporter.report({DebugError::kSegmentCrossesBoundary, segment.device, segment.address, segment.size, nullptr,
                     fmt::format("boundary mask {:#x}", boundary), frame});
}

}  // namespace causeway::dma
