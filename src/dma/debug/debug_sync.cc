// Syncs: found by containment, because a part of a mapping may be synced.
#include <fmt/format.h>

#include <algorithm>

#include "dma/debug/debug_state.h"

namespace causeway::dma {

unsigned Debug::State::mapped_segments(const DebugMapping& first) {
  unsigned mapped = 0;
  table.with_match(first, [&](const DebugMapping& entry) { mapped = entry.sg_mapped; });
  return mapped;
}

void Debug::State::sync(const DebugMapping& wanted, bool for_cpu, const void* frame) {
  // A copy: reports are made with no lock held.
  DebugMapping entry;
  auto report = [&](DebugError error, const DebugMapping* mapping, std::string detail) {
    reporter.report({error, wanted.device, wanted.address, wanted.size, mapping, std::move(detail), frame});
  };
  const char* to_whom = for_cpu ? "for cpu" : "for device";
  if (!table.with_containing(wanted, [&](const DebugMapping& found) { entry = found; })) {
    if (is_enabled())
      report(DebugError::kSyncNotAllocated, nullptr, fmt::format("{}, {}", to_whom, word_of(wanted.direction)));
    return;
  }
  if (wanted.end() > entry.end())
    report(DebugError::kSyncOutsideRange, &entry,
           fmt::format("{}, mapped {:#x}+{}", to_whom, entry.address.value(), entry.size));
  if (entry.direction == Direction::kBidirectional) return;
  if (wanted.direction != entry.direction)
    report(DebugError::kSyncDifferentDirection, &entry,
           fmt::format("{}, mapped {}, synced {}", to_whom, word_of(entry.direction), word_of(wanted.direction)));
  if (for_cpu && !device_writes(entry.direction) && wanted.direction != Direction::kToDevice)
    report(DebugError::kSyncForCpuReadOnly, &entry, {});
  if (!for_cpu && !device_reads(entry.direction) && wanted.direction != Direction::kFromDevice)
    report(DebugError::kSyncForDeviceWriteOnly, &entry, {});
  if (wanted.type == EntryType::kSg && entry.type == EntryType::kSg && wanted.sg_count != entry.sg_count)
    report(DebugError::kSyncSgCount, &entry, fmt::format("mapped {} entries, synced {}", entry.sg_count, wanted.sg_count));
}

namespace {

void sync_list(Debug::State& state, const Device& device, std::span<const ScatterEntry> list, Direction direction,
               bool for_cpu, const void* frame) {
  if (!state.is_enabled() || list.empty()) return;
  const DebugDevice* known = state.names.find_or_add(device);
  unsigned mapped = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    DebugMapping wanted{.device = known,
                      .address = list[i].dma_address,
                      .size = list[i].dma_length,
                      .phys = list[i].phys,
                      .type = EntryType::kSg,
                      .direction = direction,
                      .sg_count = static_cast<uint32_t>(list.size())};
    // Where even the first is unknown, one report says it all.
    if (i == 0) mapped = std::max(1u, state.mapped_segments(wanted));
    if (i >= mapped) break;
    state.sync(wanted, for_cpu, frame);
  }
}

void sync_single(Debug::State& state, const Device& device, DmaAddr address, size_t size, Direction direction,
                 bool for_cpu, const void* frame) {
  if (!state.is_enabled()) return;
  DebugMapping wanted{.device = state.names.find_or_add(device),
                    .address = address,
                    .size = size,
                    .type = EntryType::kPhys,
                    .direction = direction};
  state.sync(wanted, for_cpu, frame);
}

}  // namespace

void Debug::sync_single_for_cpu(const Device& device, DmaAddr address, size_t size, Direction direction) {
  sync_single(*state_, device, address, size, direction, true, __builtin_frame_address(0));
}

void Debug::sync_single_for_device(const Device& device, DmaAddr address, size_t size, Direction direction) {
  sync_single(*state_, device, address, size, direction, false, __builtin_frame_address(0));
}

void Debug::sync_sg_for_cpu(const Device& device, std::span<const ScatterEntry> list, Direction direction) {
  sync_list(*state_, device, list, direction, true, __builtin_frame_address(0));
}

void Debug::sync_sg_for_device(const Device& device, std::span<const ScatterEntry> list, Direction direction) {
  sync_list(*state_, device, list, direction, false, __builtin_frame_address(0));
}

}  // namespace causeway::dma
