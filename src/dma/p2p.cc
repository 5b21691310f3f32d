#include "dma/p2p.h"

#include <utility>

#include "dma/dma.h"

namespace causeway::dma {

namespace {

bool contains(const P2pProvider& provider, PhysAddr phys) {
  return phys >= provider.base && phys - provider.base < provider.size;
}

}  // namespace

const char* name_of(P2pType type) {
  switch (type) {
    case P2pType::kNone:
      return "not peer to peer";
    case P2pType::kNotSupported:
      return "not supported";
    case P2pType::kBusAddress:
      return "bus address";
    case P2pType::kThruHostBridge:
      return "through the host bridge";
  }
  return "?";
}

P2pType p2p_type(const P2pProvider& provider, const PciPath& client) {
  const PciPath& owner = provider.owner;
  if (!provider.published) return P2pType::kNotSupported;
  bool common_bridge = owner.upstream_bridge != 0 && owner.upstream_bridge == client.upstream_bridge;
  // Access control on either leg sends the request up, where it meets the IOMMU or the host bridge.
  if (common_bridge && !owner.acs_redirect && !client.acs_redirect) return P2pType::kBusAddress;
  if (owner.host_bridge_allowed && client.host_bridge_allowed) return P2pType::kThruHostBridge;
  return P2pType::kNotSupported;
}

Result<uint64_t> P2pRegistry::add(const P2pProvider& provider) {
  uint64_t last;
  if (provider.size == 0 || !checked_add(provider.base.value(), provider.size - 1, &last))
    return fail(EINVAL, "a peer-to-peer window is empty or wraps");
  return data_.with([&](Data& data) -> Result<uint64_t> {
    auto entries = std::make_shared<std::vector<Entry>>();
    if (data.entries != nullptr) *entries = *data.entries;
    for (const Entry& entry : *entries)
      if (contains(entry.provider, provider.base) || contains(provider, entry.provider.base))
        return fail(EEXIST, "a peer-to-peer window overlaps another");
    uint64_t id = data.next_id++;
    entries->push_back({id, provider});
    count_.store(entries->size(), std::memory_order_release);
    data.entries = std::move(entries);
    return id;
  });
}

Status P2pRegistry::remove(uint64_t id) {
  return data_.with([&](Data& data) -> Status {
    if (data.entries == nullptr) return fail(ENOENT, "no such peer-to-peer window");
    auto entries = std::make_shared<std::vector<Entry>>(*data.entries);
    if (std::erase_if(*entries, [&](const Entry& entry) { return entry.id == id; }) == 0)
      return fail(ENOENT, "no such peer-to-peer window");
    count_.store(entries->size(), std::memory_order_release);
    if (entries->empty())
      data.entries.reset();
    else
      data.entries = std::move(entries);
    return {};
  });
}

P2pRegistry::Snapshot P2pRegistry::snapshot() const {
  if (empty()) return nullptr;
  return data_.with([](const Data& data) { return data.entries; });
}

P2pState::P2pState(const Device& client) : client_(client), entries_(client.dma().p2p().snapshot()) {}

P2pType P2pState::look_up(PhysAddr phys) {
  if (provider_ != nullptr && contains(*provider_, phys)) return type_;
  for (const P2pRegistry::Entry& entry : *entries_) {
    if (!contains(entry.provider, phys)) continue;
    provider_ = &entry.provider;
    return type_ = p2p_type(entry.provider, client_.pci_path());
  }
  return P2pType::kNone;
}

}  // namespace causeway::dma
