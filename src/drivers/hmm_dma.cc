#include "drivers/hmm_dma.h"

#include <new>

namespace causeway::drivers {

using dma::Attr;
using dma::Direction;

namespace {

constexpr uint64_t bit(HmmFlag flag) { return static_cast<uint64_t>(flag); }
constexpr uint64_t kSticky = bit(HmmFlag::kDmaMapped | HmmFlag::kPeer | HmmFlag::kPeerBus);

Attr attrs_for(bool host_bridge) {
  return host_bridge ? Attr::kRequireCoherent | Attr::kMmio : Attr::kRequireCoherent;
}

}  // namespace

Result<std::unique_ptr<HmmDmaMap>> HmmDmaMap::create(dma::Device& device, uint64_t entries) {
  if (entries == 0 || entries > kPfnMask >> 1) return fail(EINVAL, "no pages to map, or too many");
  // Whether a map would bounce cannot be asked; what can be asked is whether there is memory out of reach.
  if (!device.skip_sync() || dma::addressing_limited(device))
    return fail(EOPNOTSUPP, "the device needs its mappings synced or bounced");
  std::unique_ptr<HmmDmaMap> map(new (std::nothrow) HmmDmaMap(device, entries));
  if (map == nullptr) return fail(ENOMEM, "no memory for the list of pages");
  if (!dma::iova_try_alloc(device, map->iova_, PhysAddr{0}, entries * kPageSize)) {
    map->iova_ = {};
    if (dma::need_unmap(device)) map->addresses_.resize(entries);
  }
  return map;
}

HmmDmaMap::~HmmDmaMap() {
  for (uint64_t i = 0; i < entries_.size(); ++i) unmap(i);
  if (iova_.in_use()) dma::iova_free(device_, iova_);
}

Status HmmDmaMap::set(uint64_t index, Pfn page, HmmFlag flags) {
  if (index >= entries_.size()) return fail(EINVAL, "no such entry");
  if ((bit(flags) & (kSticky | kPfnMask)) != 0 || page.value() > kPfnMask)
    return fail(EINVAL, "flags or a frame number that an entry cannot have");
  uint64_t& entry = entries_[index];
  if ((entry & bit(HmmFlag::kDmaMapped)) != 0 && (entry & kPfnMask) != page.value())
    return fail(EBUSY, "another page is mapped there");
  entry = (entry & kSticky) | bit(flags) | page.value();
  return {};
}

Result<DmaAddr> HmmDmaMap::map(uint64_t index) {
  if (index >= entries_.size()) return fail(EINVAL, "no such entry");
  uint64_t& entry = entries_[index];
  if ((entry & bit(HmmFlag::kValid)) == 0 || (entry & bit(HmmFlag::kError)) != 0)
    return fail(EINVAL, "there is no page to map");
  dma::P2pState peers(device_);
  PhysAddr phys = pfn(index).address();
  if (has(index, HmmFlag::kDmaMapped) && !has(index, HmmFlag::kPeerBus)) {
    if (iova_.in_use()) return iova_.address + index * kPageSize;
    if (!addresses_.empty()) return addresses_[index];
    // Nothing to be undone, so mapping it again is as good as having kept the address.
    return map_new(index, has(index, HmmFlag::kPeer));
  }

  dma::P2pType type = peers.type_of(phys);
  if (type == dma::P2pType::kNotSupported) return fail(EREMOTEIO, "the device cannot reach its peer's memory");
  if (type == dma::P2pType::kBusAddress) {
    entry |= bit(HmmFlag::kPeerBus | HmmFlag::kDmaMapped);
    return peers.bus_address(phys);
  }
  bool host_bridge = type == dma::P2pType::kThruHostBridge;
  DmaAddr address = CW_TRY(map_new(index, host_bridge));
  if (!addresses_.empty()) addresses_[index] = address;
  entry |= bit(HmmFlag::kDmaMapped);
  if (host_bridge) entry |= bit(HmmFlag::kPeer);
  return address;
}

Result<DmaAddr> HmmDmaMap::map_new(uint64_t index, bool host_bridge) {
  PhysAddr phys = pfn(index).address();
  Attr attrs = attrs_for(host_bridge);
  if (!iova_.in_use()) {
    DmaAddr address = dma::map_phys(device_, phys, kPageSize, Direction::kBidirectional, attrs);
    CW_TRY(dma::mapping_error(device_, address));
    return address;
  }
  uint64_t offset = index * kPageSize;
  CW_TRY(dma::iova_link(device_, iova_, phys, offset, kPageSize, Direction::kBidirectional, attrs));
  if (Status synced = dma::iova_sync(device_, iova_, offset, kPageSize); !synced) {
    dma::iova_unlink(device_, iova_, offset, kPageSize, Direction::kBidirectional, attrs);
    return fail(synced.error());
  }
  return iova_.address + offset;
}

bool HmmDmaMap::unmap(uint64_t index) {
  if (index >= entries_.size() || !has(index, HmmFlag::kDmaMapped)) return false;
  if (!has(index, HmmFlag::kPeerBus)) {
    Attr attrs = attrs_for(has(index, HmmFlag::kPeer));
    if (iova_.in_use()) {
      dma::iova_unlink(device_, iova_, index * kPageSize, kPageSize, Direction::kBidirectional, attrs);
    } else if (!addresses_.empty()) {
      dma::unmap_phys(device_, addresses_[index], kPageSize, Direction::kBidirectional, attrs);
    }
  }
  entries_[index] &= ~kSticky;
  return true;
}

}  // namespace causeway::drivers
