// Maps the memory of a block request for a device, piece by piece, by physical address (blk_rq_dma_map_iter).
//
//   BlockMapping mapping;                                   // kept with the command until it completes
//   BlockDmaIter iter(device, mapping);
//   for (bool more = iter.start({segments, Direction::kFromDevice}); more; more = iter.next())
//     put_into_prp_list(iter.address(), iter.length());
//   CW_TRY(iter.status());
//   ...  the command completes  ...
//   unmap(device, mapping);
//
// What the memory is decides how it is mapped, in this order: peer to peer below a common bridge -> bus addresses,
// nothing to unmap; behind an IOMMU and no gap in the request crosses its merge boundary -> one range of bus addresses,
// linked vector by vector, one sync, one piece; else map_phys() for each vector. A vector is a run of segments that
// follow each other in memory, at most max_segment_size() long.
//
// After a failure nothing is mapped. Not thread-safe; nothing here sleeps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/map.h"
#include "dma/p2p.h"
#include "dma/two_step.h"

namespace causeway::drivers {

// One physically contiguous part of a request's memory (bio_vec).
struct PhysSegment {
  PhysAddr phys;
  uint64_t length = 0;  // bytes, not 0
};

struct BlockRequest {
  std::span<const PhysSegment> segments;
  dma::Direction direction = dma::Direction::kToDevice;
};

// What unmap() has to know.
struct BlockMapping {
  struct Piece {
    DmaAddr address;
    uint64_t length;
  };
  dma::IovaState iova;        // in use: one range for all
  uint64_t total = 0;         // bytes of the request
  dma::P2pType peer = dma::P2pType::kNone;
  dma::Direction direction = dma::Direction::kToDevice;
  bool live = false;
  std::vector<Piece> pieces;  // mapped one by one; its capacity stays for the next command
};

class BlockDmaIter {
 public:
  // `mapping`: not live. Both outlive the iterator.
  BlockDmaIter(dma::Device& device, BlockMapping& mapping) : device_(device), mapping_(mapping), peers_(device) {}

  // The first piece. False: see status(). `request.segments` is used until the last next().
  bool start(const BlockRequest& request);
  // False: there are no more, or an error.
  bool next();
  DmaAddr address() const { return address_; }
  uint64_t length() const { return length_; }
  // EINVAL: no segments, an empty one, one that wraps, different kinds of memory; EREMOTEIO: the device cannot reach its
  // peer; ENOMEM and the errors of iova_link() and iova_sync().
  const Status& status() const { return status_; }

 private:
  struct Vector {
    PhysAddr phys;
    uint64_t length;
  };
  bool take_vector(Vector& vector);
  Status check();
  Status link_all();
  bool failed(Status why);
  dma::Attr attrs() const;

  dma::Device& device_;
  BlockMapping& mapping_;
  dma::P2pState peers_;
  BlockRequest request_;
  size_t at_ = 0;         // the segment the next vector starts with
  uint64_t offset_ = 0;   // in it
  bool whole_ = false;    // one piece stands for all
  uint64_t gap_mask_ = 0; // bits of addresses at which vectors end or begin inside the request
  DmaAddr address_;
  uint64_t length_ = 0;
  Status status_;
};

// Everything `mapping` holds, if anything; it can be used again afterwards.
void unmap(dma::Device& device, BlockMapping& mapping);

}  // namespace causeway::drivers
