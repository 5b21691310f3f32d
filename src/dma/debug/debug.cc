#include "dma/debug/debug.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "dma/debug/debug_state.h"

namespace causeway::dma {

Debug::Debug(mm::MemMap& map, const Options& options) : state_(std::make_unique<State>(map, options)) {}
Debug::~Debug() = default;

void Debug::check_single(const Device& device, const void* memory, size_t size) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  const platform::DirectMap& direct = s.map.direct_map();
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t last = size == 0 ? begin : begin + (size - 1);
  // Nothing else can lie in the direct map.
  if (direct.contains(memory) && direct.contains(reinterpret_cast<const void*>(last))) return;
  DebugError error = DebugError::kMapsInvalidArea;
  if (own_stack().contains(begin) || own_stack().contains(last))
    error = DebugError::kMapsFromStack;
  else if (s.options.is_vmalloc && s.options.is_vmalloc(memory))
    error = DebugError::kMapsVmalloc;
  else if (in_read_only_image(memory, std::max<size_t>(size, 1)))
    error = DebugError::kMapsKernelText;
  s.reporter.report({error, s.names.find_or_add(device), kMappingError, size, nullptr, fmt::format("memory at {}", memory),
                     __builtin_frame_address(0)});
}

void Debug::map_phys(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  s.record_map({.device = s.names.find_or_add(device),
                .address = address,
                .size = size,
                .phys = phys,
                .attrs = attrs,
                .type = EntryType::kPhys,
                .direction = direction},
               __builtin_frame_address(0));
}

void Debug::unmap_phys(const Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  s.unmap({.device = s.names.find_or_add(device),
           .address = address,
           .size = size,
           .attrs = attrs,
           .type = EntryType::kPhys,
           .direction = direction},
          __builtin_frame_address(0));
}

void Debug::mapping_error(const Device& device, DmaAddr address) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  s.table.mark_checked(s.names.find_or_add(device), address);
}

void Debug::map_sg(const Device& device, std::span<const ScatterEntry> list, unsigned mapped, Direction direction,
                   Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  const void* frame = __builtin_frame_address(0);
  const DebugDevice* known = s.names.find_or_add(device);
  for (const ScatterEntry& entry : list) {
    s.check_initialised(known, entry.phys, entry.length, direction, attrs, frame);
    if (mapped != 0)
      s.check_area({.device = known, .address = entry.dma_address, .size = entry.length, .phys = entry.phys, .attrs = attrs},
                   frame);
  }
  // A segment may stand for several entries: its memory begins where that of the segments before it ended.
  size_t first = 0;
  for (size_t i = 0; i < std::min<size_t>(mapped, list.size()); ++i) {
    DebugMapping segment{.device = known,
                       .address = list[i].dma_address,
                       .size = list[i].dma_length,
                       .phys = list[std::min(first, list.size() - 1)].phys,
                       .attrs = attrs,
                       .type = EntryType::kSg,
                       .direction = direction,
                       .sg_count = static_cast<uint32_t>(list.size()),
                       .sg_mapped = mapped};
    for (uint64_t covered = 0; first < list.size() && covered < segment.size; ++first) covered += list[first].length;
    s.check_segment(device, segment, frame);
    if (!s.record(segment, frame)) return;
  }
}

void Debug::unmap_sg(const Device& device, std::span<const ScatterEntry> list, Direction direction, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled() || list.empty()) return;
  const DebugDevice* known = s.names.find_or_add(device);
  unsigned mapped = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    DebugMapping wanted{.device = known,
                      .address = list[i].dma_address,
                      .size = list[i].dma_length,
                      .phys = list[i].phys,
                      .attrs = attrs,
                      .type = EntryType::kSg,
                      .direction = direction,
                      .sg_count = static_cast<uint32_t>(list.size())};
    // Where even the first is unknown, one report says it all.
    if (i == 0) mapped = std::max(1u, s.mapped_segments(wanted));
    if (i >= mapped) break;
    s.unmap(wanted, __builtin_frame_address(0));
  }
}

void Debug::alloc_coherent(const Device& device, const void* cpu, PhysAddr phys, size_t size, DmaAddr address, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled() || cpu == nullptr) return;
  s.record({.device = s.names.find_or_add(device),
            .address = address,
            .size = size,
            .phys = phys,
            .cpu = cpu,
            .attrs = attrs,
            .type = EntryType::kCoherent,
            .direction = Direction::kBidirectional},
           __builtin_frame_address(0));
}

void Debug::free_coherent(const Device& device, const void* cpu, size_t size, DmaAddr address, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled() || cpu == nullptr) return;
  s.unmap({.device = s.names.find_or_add(device),
           .address = address,
           .size = size,
           .cpu = cpu,
           .attrs = attrs,
           .type = EntryType::kCoherent,
           .direction = Direction::kBidirectional},
          __builtin_frame_address(0));
}

void Debug::alloc_pages(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address) {
  State& s = *state_;
  if (!s.is_enabled() || address == kMappingError) return;
  s.record({.device = s.names.find_or_add(device),
            .address = address,
            .size = size,
            .phys = phys,
            .type = EntryType::kNoncoherent,
            .direction = direction},
           __builtin_frame_address(0));
}

void Debug::free_pages(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  s.unmap({.device = s.names.find_or_add(device),
           .address = address,
           .size = size,
           .phys = phys,
           .type = EntryType::kNoncoherent,
           .direction = direction},
          __builtin_frame_address(0));
}

void Debug::link(const Device& device, PhysAddr phys, size_t size, Direction direction, DmaAddr address, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled() || size == 0) return;
  s.record_map({.device = s.names.find_or_add(device),
                .address = address,
                .size = size,
                .phys = phys,
                .attrs = attrs,
                .type = EntryType::kLink,
                .direction = direction},
               __builtin_frame_address(0));
}

void Debug::unlink(const Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  State& s = *state_;
  if (!s.is_enabled()) return;
  const void* frame = __builtin_frame_address(0);
  DebugMapping wanted{.device = s.names.find_or_add(device),
                    .address = address,
                    .size = size,
                    .attrs = attrs,
                    .type = EntryType::kLink,
                    .direction = direction};
  const uint64_t end = wanted.end();
  while (wanted.address.value() < end) {
    wanted.size = end - wanted.address.value();
    DebugEntry* piece = s.table.take(wanted);
    if (piece == nullptr) return s.unmap(wanted, frame);
    // Whole pieces: one that reaches beyond the end is a wrong size.
    wanted.size = std::min(wanted.size, piece->size);
    const uint64_t next = wanted.address.value() + std::max<uint64_t>(wanted.size, 1);
    s.finish_unmap(wanted, piece, frame);
    wanted.address = DmaAddr(next);
  }
}

uint64_t Debug::device_removed(const Device& device) {
  State& s = *state_;
  const DebugDevice* known = s.names.find_or_add(device);
  DebugEntry* entry = s.table.take_all(known);
  if (entry == nullptr) return 0;
  const DebugMapping sample = *entry;
  uint64_t count = 0;
  while (entry != nullptr) {
    s.forget(std::exchange(entry, entry->next));
    ++count;
  }
  if (s.is_enabled())
    s.reporter.report({.error = DebugError::kPendingAllocations,
                       .device = known,
                       .address = sample.address,
                       .size = sample.size,
                       .entry = &sample,
                       .detail = fmt::format("{} of them, one is", count)});
  return count;
}

bool Debug::enabled() const { return state_->is_enabled(); }
uint64_t Debug::errors() const { return state_->reporter.count(); }
uint64_t Debug::errors(DebugError error) const { return state_->reporter.count(error); }
uint64_t Debug::entries() const { return state_->pool.live(); }
uint64_t Debug::min_free_entries() const { return state_->pool.min_free(); }
void Debug::set_all_errors(bool all) { state_->reporter.set_all_errors(all); }
void Debug::set_num_errors(uint64_t count) { state_->reporter.set_num_errors(count); }
void Debug::set_reporter(std::function<void(const Report&)> reporter) { state_->reporter.set_reporter(std::move(reporter)); }
InitTracker* Debug::init_tracker() const { return state_->init ? &*state_->init : nullptr; }

std::string Debug::dump() const {
  std::vector<std::pair<DebugMapping, ErrorCheck>> entries;
  state_->table.for_each([&](const DebugEntry& entry) { entries.emplace_back(entry, entry.check); });
  std::string text;
  for (const auto& [entry, check] : entries) {
    fmt::format_to(std::back_inserter(text), "{} {} phys={:#x} dma={:#x} size={} {} attrs={:#x} {}\n", entry.device->name,
                   name_of(entry.type), entry.phys.value(), entry.address.value(), entry.size, word_of(entry.direction),
                   static_cast<uint64_t>(entry.attrs), name_of(check));
  }
  return text;
}

}  // namespace causeway::dma
