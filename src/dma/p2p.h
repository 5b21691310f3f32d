// Peer to peer: memory of one PCI device that another one reads or writes (pci/p2pdma.c). A provider says which window it
// has; from then on every mapping of a scatter list looks whether a segment lies in one.
//
//   auto window = CW_TRY(dma.p2p().add({.base = bar, .size = MiB(16), .bus_offset = bus - bar, .owner = nvme.pci_path()}));
//
//   P2pState peers(device);                               // one per request
//   switch (peers.type_of(phys)) {
//     case P2pType::kNone: ...                            // ordinary memory
//     case P2pType::kBusAddress: program(peers.bus_address(phys)); break;     // nothing to map, nothing to unmap
//     case P2pType::kThruHostBridge: attrs = attrs | Attr::kMmio; ...         // map_phys(), iova_link(), and their undoing
//     case P2pType::kNotSupported: return fail(EREMOTEIO, ...);
//   }
//
// map_sg() does exactly this: segments through the host bridge are mapped as kMmio, where Linux 7.3 maps them like RAM and
// so may bounce them or clean caches that never hold them.
//
// The decision is a few compares of two PciPaths, which every list makes once for a provider; nothing is kept longer, so that
// nothing is out of date when a device is replaced by another of the same name.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/device.h"
#include "sync/guarded.h"

namespace causeway::dma {

enum class P2pType : uint8_t { kNone, kNotSupported, kBusAddress, kThruHostBridge };
const char* name_of(P2pType type);

// A window of device memory.
struct P2pProvider {
  PhysAddr base;
  uint64_t size = 0;        // bytes
  uint64_t bus_offset = 0;  // added to a physical address, modulo 2^64, to get what the device answers to on its bus
  PciPath owner;
  bool published = true;    // false: nobody may use it
};

// A request must be of one kind as a whole: callers that merge segments compare types.
P2pType p2p_type(const P2pProvider& provider, const PciPath& client);

// Lock-free to ask whether there is any provider; a list takes the lock once. Thread-safe.
class P2pRegistry {
 public:
  struct Entry {
    uint64_t id;
    P2pProvider provider;
  };
  using Snapshot = std::shared_ptr<const std::vector<Entry>>;

  // An id for remove(). EINVAL: empty or wraps; EEXIST: overlaps another.
  Result<uint64_t> add(const P2pProvider& provider);
  // When no mapping of the window is left. ENOENT.
  Status remove(uint64_t id);

  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  Snapshot snapshot() const;  // null: none

 private:
  std::atomic<uint64_t> count_{0};
  struct Data {
    uint64_t next_id = 1;
    Snapshot entries;
  };
  sync::Guarded<Data, sync::SpinLock> data_{sync::LockName{"dma.p2p"}};
};

// What one request knows of its peers (pci_p2pdma_map_state). Not thread-safe.
class P2pState {
 public:
  explicit P2pState(const Device& client);
  // Of the byte at `phys`.
  P2pType type_of(PhysAddr phys) { return entries_ == nullptr ? P2pType::kNone : look_up(phys); }
  // After type_of(phys) was kBusAddress.
  DmaAddr bus_address(PhysAddr phys) const { return DmaAddr(phys.value() + provider_->bus_offset); }
  // The last byte of the window type_of() found.
  PhysAddr last_byte() const { return provider_->base + (provider_->size - 1); }

 private:
  P2pType look_up(PhysAddr phys);
  const Device& client_;
  P2pRegistry::Snapshot entries_;
  const P2pProvider* provider_ = nullptr;  // the last one found
  P2pType type_ = P2pType::kNone;          // ... and what it is to the client
};

}  // namespace causeway::dma
