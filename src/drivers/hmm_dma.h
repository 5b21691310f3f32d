// Maps pages of a process one by one, as they are faulted in, for a device that shares its address space
// (hmm_dma_map_pfn): a sparse list of page frames, each mapped and unmapped by itself for as long as the list lives.
//
//   auto map = CW_TRY(HmmDmaMap::create(device, 1024));
//   map->set(7, pfn, HmmFlag::kValid | HmmFlag::kWrite);         // a fault put a page there
//   DmaAddr address = CW_TRY(map->map(7));
//   ...  the page is to go  ...
//   map->unmap(7);
//
// The device and the CPU use a page at the same time, so there is nobody to hand it over: devices that need syncs, or
// whose addresses might have to be bounced, are refused (EOPNOTSUPP), and every map is bidirectional and kRequireCoherent.
// kDmaMapped, kPeer and kPeerBus are sticky: set() keeps them, unmap() clears them.
//
// The caller serialises per entry; entries are independent of each other.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/map.h"
#include "dma/p2p.h"
#include "dma/two_step.h"

namespace causeway::drivers {

// Of an entry, above the page frame number.
enum class HmmFlag : uint64_t {
  kNone = 0,
  kValid = uint64_t{1} << 63,      // there is a page
  kWrite = uint64_t{1} << 62,      // the device may write it
  kError = uint64_t{1} << 61,      // the page cannot be had
  kDmaMapped = uint64_t{1} << 60,
  kPeer = uint64_t{1} << 59,       // peer to peer, through the host bridge
  kPeerBus = uint64_t{1} << 58,    // peer to peer, by bus address
};
constexpr HmmFlag operator|(HmmFlag a, HmmFlag b) {
  return static_cast<HmmFlag>(static_cast<uint64_t>(a) | static_cast<uint64_t>(b));
}

class HmmDmaMap {
 public:
  // EOPNOTSUPP: the device needs syncs, or cannot reach all memory; EINVAL: no entries.
  static Result<std::unique_ptr<HmmDmaMap>> create(dma::Device& device, uint64_t entries);
  // Unmaps what is still mapped.
  ~HmmDmaMap();

  // EBUSY: another page is still mapped there; EINVAL: sticky flags, a frame number that does not fit.
  Status set(uint64_t index, Pfn pfn, HmmFlag flags);
  // Of an entry mapped already: its address again. EINVAL: no valid page; EREMOTEIO: the device cannot reach its peer;
  // ENOMEM, and the errors of the two-step API.
  Result<DmaAddr> map(uint64_t index);
  // False: it was not mapped.
  bool unmap(uint64_t index);

  bool has(uint64_t index, HmmFlag flag) const { return (entries_[index] & static_cast<uint64_t>(flag)) != 0; }
  Pfn pfn(uint64_t index) const { return Pfn(entries_[index] & kPfnMask); }
  uint64_t size() const { return entries_.size(); }
  bool uses_iova() const { return iova_.in_use(); }

 private:
  static constexpr uint64_t kPfnMask = (uint64_t{1} << 52) - 1;
  HmmDmaMap(dma::Device& device, uint64_t entries) : device_(device), entries_(entries) {}
  Result<DmaAddr> map_new(uint64_t index, bool host_bridge);

  dma::Device& device_;
  std::vector<uint64_t> entries_;
  std::vector<DmaAddr> addresses_;  // without a range of bus addresses, if they are to be unmapped
  dma::IovaState iova_;
};

}  // namespace causeway::drivers
