#include "dma/user_map.h"

#include <algorithm>

#include "dma/attribute_rules.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

// pgoff + count may wrap, so the end is never computed.
Status check_window(uint64_t pages, uint64_t pgoff, uint64_t count) {
  if (pgoff >= pages || count > pages - pgoff) return fail(ENXIO, "the window reaches beyond the memory");
  return {};
}

Status append(Dma::State& state, PhysAddr phys, uint64_t size, std::vector<UserMapping::Piece>& pieces) {
  while (size > 0) {
    mm::PageBacking backing = CW_TRY(state.vmalloc.backing(phys));
    const uint64_t part = std::min(size, backing.contiguous);
    if (part == 0) return fail(ENXIO, "no memory behind the pages");
    if (!pieces.empty() && pieces.back().fd == backing.fd &&
        pieces.back().offset + pieces.back().size == backing.offset)
      pieces.back().size += part;
    else
      pieces.push_back({backing.fd, backing.offset, part});
    phys += part;
    size -= part;
  }
  return {};
}

// Where page `index` of an allocation lies: one with a mapping of its own need not be contiguous.
Result<PhysAddr> page_at(Dma::State& state, const Allocation& block, uint64_t index) {
  if (!state.map().direct_map().contains(block.cpu) && state.vmalloc.find(block.cpu) != nullptr)
    return state.vmalloc.to_phys(static_cast<const std::byte*>(block.cpu) + (index << kPageShift));
  return block.phys + (index << kPageShift);
}

Result<Allocation> find(Device& device, const Coherent& memory, Attr attrs) {
  return device.dma().state().allocations.look_up({memory.cpu, memory.handle, memory.size, device.requester(),
                                                   canonical_attrs(attrs, device.traits().coherent)});
}

}  // namespace

bool can_mmap(const Device& device) {
  if (device.traits().iommu) return false;
  if (device.iommu() != nullptr) return true;
  return device.traits().coherent || device.dma().config().noncoherent_mmap;
}

Result<UserMapping> mmap_attrs(Device& device, const Coherent& memory, Attr attrs, uint64_t pgoff, uint64_t count) {
  Dma::State& state = device.dma().state();
  Allocation block = CW_TRY(find(device, memory, attrs));
  // A device's own memory is mapped whatever the device can do otherwise.
  if (block.route != Route::kDeviceMemory && !can_mmap(device))
    return fail(ENXIO, "memory of this device cannot be mapped");
  CW_TRY(check_window(pages_for(memory.size), pgoff, count));
  UserMapping mapping;
  for (uint64_t i = pgoff; i < pgoff + count; ++i)
    CW_TRY(append(state, CW_TRY(page_at(state, block, i)), kPageSize, mapping.pieces));
  if (!device.traits().coherent)
    mapping.policy = has(attrs, Attr::kWriteCombine) ? CachePolicy::kWriteCombine : CachePolicy::kUncached;
  mapping.decrypted = device.traits().force_unencrypted;
  return mapping;
}

Result<UserMapping> mmap_pages(Device& device, const DmaPages& memory, uint64_t pgoff, uint64_t count) {
  Dma::State& state = device.dma().state();
  if (memory.page == nullptr) return fail(EINVAL, "no memory");
  const PhysAddr phys = state.map().phys(memory.page);
  CW_TRY(state.allocations.look_up(
      {state.linear(phys), memory.handle, memory.size, device.requester(), Attr::kNone, Kind::kPages}));
  CW_TRY(check_window(pages_for(memory.size), pgoff, count));
  UserMapping mapping;
  CW_TRY(append(state, phys + (pgoff << kPageShift), count << kPageShift, mapping.pieces));
  return mapping;
}

Result<UserMapping> mmap_noncontiguous(Device& device, const Noncontiguous& memory, uint64_t pgoff, uint64_t count) {
  CW_TRY(check_window(pages_for(memory.size), pgoff, count));
  Dma::State& state = device.dma().state();
  UserMapping mapping;
  uint64_t skip = pgoff << kPageShift;
  uint64_t left = count << kPageShift;
  for (const ScatterEntry& entry : memory.table.entries) {
    const uint64_t from = std::min<uint64_t>(skip, entry.length);
    const uint64_t part = std::min(left, entry.length - from);
    skip -= from;
    left -= part;
    if (part != 0) CW_TRY(append(state, entry.phys + from, part, mapping.pieces));
  }
  return mapping;
}

Result<ScatterTable> get_sgtable_attrs(Device& device, const Coherent& memory, Attr attrs) {
  if (device.traits().iommu) return fail(ENXIO, "the device's operations have no such list");
  Dma::State& state = device.dma().state();
  Allocation block = CW_TRY(find(device, memory, attrs));
  ScatterTable table;
  for (uint64_t i = 0; i < pages_for(memory.size); ++i) {
    const PhysAddr page = CW_TRY(page_at(state, block, i));
    ScatterEntry* last = table.entries.empty() ? nullptr : &table.entries.back();
    if (last != nullptr && last->phys + last->length == page && last->length <= UINT32_MAX - kPageSize)
      last->length += kPageSize;
    else
      table.entries.push_back({.phys = page, .length = kPageSize});
  }
  return table;
}

}  // namespace causeway::dma
