// Scatter lists behind an IOMMU: one range of bus addresses for the whole list, and segments as long as the device takes.
//
// While a list is being mapped its entries carry what the mapping needs: `phys` and `length` cover whole granules (and
// the gap to a segment boundary), `dma_address` has the offset that was cut off, `dma_length` the true length. finish() turns
// that into segments, undo() into the list the caller gave us.

#include <algorithm>
#include <utility>

#include "dma/iommu/iommu_state.h"
#include "dma/p2p.h"

namespace causeway::dma {

using State = IommuDma::State;

namespace {

void forget(ScatterEntry& entry, DmaAddr address = DmaAddr{}) {
  entry.dma_address = address;
  entry.dma_length = 0;
  entry.flags = 0;
}

void restore(ScatterEntry& entry) {
  if ((entry.flags & kScatterBusAddress) != 0) return;
  entry.phys += entry.dma_address.value();
  entry.length = entry.dma_length;
}

// The entries that prepare() has been through are the first `prepared`.
void undo(std::span<ScatterEntry> list, size_t prepared) {
  for (ScatterEntry& entry : list.first(prepared)) restore(entry);
  for (ScatterEntry& entry : list) forget(entry, kMappingError);
}

bool leaves_window(const P2pState& peers, const ScatterEntry& entry) {
  return entry.length != 0 && uint64_t{entry.length} - 1 > peers.last_byte() - entry.phys;
}

// What kind of memory an entry is, in its flags. EREMOTEIO.
Status classify(P2pState& peers, ScatterEntry& entry) {
  entry.flags = 0;
  P2pType type = peers.type_of(entry.phys);
  if (type == P2pType::kNone) return {};
  if (type == P2pType::kNotSupported || leaves_window(peers, entry))
    return fail(EREMOTEIO, "the device cannot reach this peer's memory");
  if (type == P2pType::kBusAddress) {
    entry.flags = kScatterBusAddress;
    entry.dma_address = peers.bus_address(entry.phys);
    entry.dma_length = entry.length;
  } else {
    entry.flags = kScatterMmio;
  }
  return {};
}

bool grow(uint32_t& length, uint64_t by) {
  uint64_t sum = uint64_t{length} + by;
  if (sum > UINT32_MAX) return false;
  length = static_cast<uint32_t>(sum);
  return true;
}

struct Prepared {
  size_t entries = 0;  // changed so far
  uint64_t total = 0;  // bytes of bus addresses
};

Status prepare(const State& state, Device& device, std::span<ScatterEntry> list, Prepared& prepared) {
  const uint64_t boundary = device.segment_boundary_mask();
  P2pState peers(device);
  ScatterEntry* previous = nullptr;
  for (; prepared.entries < list.size(); ++prepared.entries) {
    ScatterEntry& entry = list[prepared.entries];
    CW_TRY(classify(peers, entry));
    if ((entry.flags & kScatterBusAddress) != 0) continue;
    if (entry.length == 0) return fail(EINVAL, "an entry of no length");
    const uint64_t offset = state.offset_in_granule(entry.phys.value());
    const uint64_t length = align_up(entry.length + offset, state.granule);
    if (length > UINT32_MAX) return fail(EINVAL, "an entry is too long");
    // One that would cross a boundary begins on it: the entry before is mapped that much longer. One of a single granule
    // never crosses.
    if (uint64_t gap = (boundary - prepared.total + 1) & boundary; gap != 0 && gap < length - 1) {
      if (previous != nullptr && !grow(previous->length, gap))
        return fail(EINVAL, "an entry is too long up to the segment boundary");
      prepared.total += gap;
    }
    entry.dma_address = DmaAddr(offset);
    entry.dma_length = entry.length;
    entry.phys = entry.phys - offset;
    entry.length = static_cast<uint32_t>(length);
    prepared.total += length;
    previous = &entry;
  }
  return {};
}

// Contiguous memory of one kind is mapped by one call. Of a failure nothing is left.
Status map_all(State& state, const Device& device, std::span<const ScatterEntry> list, Iova start, Direction direction,
               Attr attrs) {
  const bool coherent = device.traits().coherent;
  uint64_t mapped = 0;
  for (size_t i = 0; i < list.size();) {
    const ScatterEntry& first = list[i++];
    if ((first.flags & kScatterBusAddress) != 0) continue;
    uint64_t run = first.length;
    for (; i < list.size() && list[i].flags == first.flags && list[i].phys.value() == first.phys.value() + run; ++i)
      run += list[i].length;
    Attr own = (first.flags & kScatterMmio) != 0 ? attrs | Attr::kMmio : attrs;
    Status done = state.domain.map(start + mapped, first.phys, run, prot_of(direction, coherent, own));
    if (!done) {
      if (mapped != 0) state.unmap_now(start, mapped);
      return done;
    }
    mapped += run;
  }
  state.domain.sync_map(start, mapped);
  return {};
}

// Segments. One goes on as long as the bus addresses do, no boundary is met and the device takes more.
unsigned finish(const Device& device, std::span<ScatterEntry> list, uint64_t address) {
  const uint64_t boundary = device.segment_boundary_mask();
  const uint64_t longest = device.max_segment_size();
  unsigned count = 0;
  bool open = false;
  for (ScatterEntry& entry : list) {
    if ((entry.flags & kScatterBusAddress) != 0) {
      DmaAddr bus = entry.dma_address;
      uint32_t length = entry.dma_length;
      forget(entry, kMappingError);
      ScatterEntry& segment = list[count++];
      segment.dma_address = bus;
      segment.dma_length = length;
      segment.flags = kScatterBusAddress;
      open = false;
      continue;
    }
    const uint64_t offset = entry.dma_address.value();
    const uint64_t taken = entry.length;
    restore(entry);
    forget(entry, kMappingError);
    ScatterEntry* current = open ? &list[count - 1] : nullptr;
    if (current != nullptr && offset == 0 && (address & boundary) != 0 &&
        uint64_t{current->dma_length} + entry.length <= longest) {
      current->dma_length += entry.length;
    } else {
      ScatterEntry& segment = list[count++];
      segment.dma_address = DmaAddr(address + offset);
      segment.dma_length = entry.length;
    }
    address += taken;
    // What follows is not where the data ends.
    open = offset + entry.length == taken;
  }
  return count;
}

bool is_bounced(const Device& device, std::span<const ScatterEntry> list, Direction direction) {
  if (device.traits().untrusted) return true;
  if (device.traits().coherent) return false;
  return std::any_of(list.begin(), list.end(), [&](const ScatterEntry& entry) {
    return direct::kmalloc_needs_bounce(device, entry.length, direction);
  });
}

void unmap_each(IommuDma& iommu, Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  for (ScatterEntry& entry : list) {
    Attr own = (entry.flags & kScatterMmio) != 0 ? attrs | Attr::kMmio : attrs;
    if ((entry.flags & kScatterBusAddress) == 0)
      iommu.unmap_phys(device, entry.dma_address, entry.dma_length, direction, own);
    forget(entry);
  }
}

Result<unsigned> map_each(IommuDma& iommu, Device& device, std::span<ScatterEntry> list, Direction direction,
                          Attr attrs) {
  P2pState peers(device);
  for (size_t i = 0; i < list.size(); ++i) {
    ScatterEntry& entry = list[i];
    Status mapped = classify(peers, entry);
    if (mapped && (entry.flags & kScatterBusAddress) == 0) {
      Attr own = (entry.flags & kScatterMmio) != 0 ? attrs | Attr::kMmio : attrs;
      entry.dma_address = iommu.map_phys(device, entry.phys, entry.length, direction, own);
      entry.dma_length = entry.length;
      if (entry.dma_address == kMappingError) mapped = fail(EIO, "an entry of the list could not be mapped");
    }
    if (mapped) continue;
    unmap_each(iommu, device, list.first(i), direction, attrs | Attr::kSkipCpuSync);
    for (ScatterEntry& each : list) forget(each, kMappingError);
    return fail(mapped.error());
  }
  list.front().flags |= kScatterSwiotlb;
  return static_cast<unsigned>(list.size());
}

// One cache operation for each entry that caches can hold, and one wait.
template <typename Operation>
void for_each_cached(State& state, Device& device, std::span<const ScatterEntry> list, Operation operation) {
  P2pState peers(device);
  for (const ScatterEntry& entry : list)
    if (peers.type_of(entry.phys) == P2pType::kNone) operation(entry.phys, entry.length);
  state.dma.cache.flush();
}

bool was_bounced(std::span<const ScatterEntry> list) { return (list.front().flags & kScatterSwiotlb) != 0; }

bool is_synced(const ScatterEntry& entry) { return (entry.flags & (kScatterBusAddress | kScatterMmio)) == 0; }

}  // namespace

Result<unsigned> IommuDma::map_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  if (list.empty()) return fail(EINVAL, "a list of no entries");
  if (is_bounced(device, list, direction)) return map_each(*this, device, list, direction, attrs);
  if (!device.traits().coherent && !has(attrs, Attr::kSkipCpuSync))
    for_each_cached(*state_, device, list,
                    [&](PhysAddr phys, uint64_t size) { state_->dma.cache.for_device(phys, size, direction); });

  Prepared prepared;
  if (Status ready = prepare(*state_, device, list, prepared); !ready) {
    undo(list, prepared.entries);
    return fail(ready.error());
  }
  if (prepared.total == 0) return finish(device, list, 0);
  std::optional<Iova> start = state_->take(device, prepared.total, device.limit());
  if (!start) {
    undo(list, prepared.entries);
    return fail(ENOMEM, "no bus addresses for the list");
  }
  if (Status mapped = map_all(*state_, device, list, *start, direction, attrs); !mapped) {
    state_->give(*start, prepared.total);
    undo(list, prepared.entries);
    if (mapped.error().code == Errno{ENOMEM}) return fail(mapped.error());
    return fail(EINVAL, "the list could not be mapped as a whole");
  }
  return finish(device, list, start->value());
}

void IommuDma::unmap_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  if (list.empty()) return;
  if (was_bounced(list)) return unmap_each(*this, device, list, direction, attrs);
  if (!device.traits().coherent && !has(attrs, Attr::kSkipCpuSync))
    for_each_cached(*state_, device, list,
                    [&](PhysAddr phys, uint64_t size) { state_->dma.cache.for_cpu(phys, size, direction); });

  // From the first segment that has addresses of ours to the end of the last one; the range is contiguous.
  std::optional<DmaAddr> start;
  DmaAddr end;
  for (ScatterEntry& entry : list) {
    if (entry.dma_length == 0) break;
    if ((entry.flags & kScatterBusAddress) != 0) continue;
    if (!start) start = entry.dma_address;
    end = entry.dma_address + entry.dma_length;
  }
  if (start) state_->unmap(device, *start, end - *start);
  for (ScatterEntry& entry : list) forget(entry);
}

void IommuDma::sync_sg_for_cpu(Device& device, std::span<ScatterEntry> list, Direction direction) {
  if (list.empty()) return;
  if (was_bounced(list)) {
    for (ScatterEntry& entry : list)
      if (is_synced(entry)) sync_single_for_cpu(device, entry.dma_address, entry.length, direction);
  } else if (!device.traits().coherent) {
    for_each_cached(*state_, device, list,
                    [&](PhysAddr phys, uint64_t size) { state_->dma.cache.for_cpu(phys, size, direction); });
  }
}

void IommuDma::sync_sg_for_device(Device& device, std::span<ScatterEntry> list, Direction direction) {
  if (list.empty()) return;
  if (was_bounced(list)) {
    for (ScatterEntry& entry : list)
      if (is_synced(entry)) sync_single_for_device(device, entry.dma_address, entry.length, direction);
  } else if (!device.traits().coherent) {
    for_each_cached(*state_, device, list,
                    [&](PhysAddr phys, uint64_t size) { state_->dma.cache.for_device(phys, size, direction); });
  }
}

}  // namespace causeway::dma
