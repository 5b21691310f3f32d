// What dma-debug consists of, and the steps its hooks share. Private to the folder.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "dma/debug/debug.h"
#include "dma/debug/device_names.h"
#include "dma/debug/entry_pool.h"
#include "dma/debug/entry_table.h"
#include "dma/debug/init_tracker.h"
#include "dma/debug/line_tracker.h"
#include "dma/debug/reporter.h"

namespace causeway::dma {

const char* word_of(Direction direction);  // "to device"

struct Debug::State {
  State(mm::MemMap& map_, const Options& options_);

  bool is_enabled() const { return enabled.load(std::memory_order_relaxed); }
  // False: out of memory, and from now on nothing is checked.
  bool record(const DebugMapping& mapping, const void* frame);
  // What was mapped as one piece: checked, and recorded unless it failed.
  void record_map(const DebugMapping& mapping, const void* frame);
  // `found` is in no table any more: compared with how it is unmapped, then given back.
  void finish_unmap(const DebugMapping& wanted, DebugEntry* found, const void* frame);
  void unmap(const DebugMapping& wanted, const void* frame);
  void forget(DebugEntry* entry);

  // What memory a map is of.
  void check_area(const DebugMapping& mapping, const void* frame);
  void check_initialised(const DebugDevice* device, PhysAddr phys, uint64_t size, Direction direction, Attr attrs,
                         const void* frame);
  void check_segment(const Device& device, const DebugMapping& segment, const void* frame);
  bool is_ram(Pfn pfn) const;

  void sync(const DebugMapping& wanted, bool for_cpu, const void* frame);
  // Segments the list was mapped to, by its first; 0: unknown.
  unsigned mapped_segments(const DebugMapping& first);

  mm::MemMap& map;
  const Options options;
  std::atomic<bool> enabled{true};
  DeviceNames names;
  EntryPool pool;
  EntryTable table;
  LineTracker lines;
  DebugReporter reporter;
  std::optional<InitTracker> init;
};

}  // namespace causeway::dma
