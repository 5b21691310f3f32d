#include "dma/direct_map.h"
#include "dma/p2p.h"

namespace causeway::dma::direct {

namespace {

bool waits_for_caches(const Device& device, Attr attrs) {
  return !device.traits().coherent && !has(attrs, Attr::kSkipCpuSync);
}

void forget(ScatterEntry& entry) {
  entry.dma_address = DmaAddr{};
  entry.dma_length = 0;
  entry.flags = 0;
}

void unmap_entries(Dma::State& state, Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  for (ScatterEntry& entry : list) {
    Attr own = (entry.flags & kScatterMmio) != 0 ? attrs | Attr::kMmio : attrs;
    if ((entry.flags & kScatterBusAddress) == 0)
      unmap_phys(state, device, entry.dma_address, entry.dma_length, direction, own, Flush::kLater);
    forget(entry);
  }
}

// A range that leaves the window of its provider is nobody's.
bool leaves_window(const P2pState& peers, const ScatterEntry& entry) {
  return entry.length != 0 && uint64_t{entry.length} - 1 > peers.last_byte() - entry.phys;
}

Status map_entry(Dma::State& state, Device& device, P2pState& peers, ScatterEntry& entry, Direction direction, Attr attrs) {
  entry.dma_length = entry.length;
  entry.flags = 0;
  P2pType type = peers.type_of(entry.phys);
  if (type != P2pType::kNone && (type == P2pType::kNotSupported || leaves_window(peers, entry)))
    return fail(EREMOTEIO, "the device cannot reach this peer's memory");
  if (type == P2pType::kBusAddress) {
    entry.dma_address = peers.bus_address(entry.phys);
    entry.flags = kScatterBusAddress;
    return {};
  }
  if (type == P2pType::kThruHostBridge) {
    entry.flags = kScatterMmio;
    attrs = attrs | Attr::kMmio;
  }
  entry.dma_address = map_phys(state, device, entry.phys, entry.length, direction, attrs, Flush::kLater);
  if (entry.dma_address == kMappingError) return fail(EIO, "an entry of the list could not be mapped");
  return {};
}

}  // namespace

Result<unsigned> map_sg(Dma::State& state, Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  P2pState peers(device);
  for (size_t i = 0; i < list.size(); ++i) {
    Status mapped = map_entry(state, device, peers, list[i], direction, attrs);
    if (mapped) continue;
    // Nobody has written to them yet: there is nothing to copy back.
    unmap_entries(state, device, list.first(i), direction, attrs | Attr::kSkipCpuSync);
    forget(list[i]);
    return fail(mapped.error());
  }
  if (waits_for_caches(device, attrs)) state.cache.flush();
  return static_cast<unsigned>(list.size());
}

void unmap_sg(Dma::State& state, Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  unmap_entries(state, device, list, direction, attrs);
  if (waits_for_caches(device, attrs)) state.cache.flush();
}

}  // namespace causeway::dma::direct
