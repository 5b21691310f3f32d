#include "drivers/block_dma.h"

#include <algorithm>

namespace causeway::drivers {

using dma::Attr;
using dma::P2pType;

Attr BlockDmaIter::attrs() const {
  return mapping_.peer == P2pType::kThruHostBridge ? Attr::kMmio : Attr::kNone;
}

bool BlockDmaIter::failed(Status why) {
  // Without this the caller could not tell a request that ended from one that broke off in the middle.
  status_ = std::move(why);
  unmap(device_, mapping_);
  return false;
}

// The next run of segments that follow each other, cut at the longest segment the device takes and at its boundary.
bool BlockDmaIter::take_vector(Vector& vector) {
  std::span<const PhysSegment> segments = request_.segments;
  if (at_ == segments.size()) return false;
  vector = {segments[at_].phys + offset_, 0};
  uint64_t limit = device_.max_segment_size();
  uint64_t boundary = device_.segment_boundary_mask();
  if (uint64_t to_boundary = boundary - (vector.phys.value() & boundary); to_boundary < limit) limit = to_boundary + 1;
  if (mapping_.peer != P2pType::kNone && peers_.type_of(vector.phys) != P2pType::kNone)
    limit = std::min(limit, peers_.last_byte() - vector.phys + 1);  // the next window has an offset of its own
  while (at_ < segments.size() && vector.length < limit &&
         segments[at_].phys.value() + offset_ == vector.phys.value() + vector.length) {
    uint64_t left = segments[at_].length - offset_;
    uint64_t part = std::min(left, limit - vector.length);
    vector.length += part;
    offset_ += part;
    if (part == left) {
      ++at_;
      offset_ = 0;
    }
  }
  return true;
}

Status BlockDmaIter::check() {
  const PhysSegment* previous = nullptr;
  for (const PhysSegment& segment : request_.segments) {
    uint64_t end;
    if (segment.length == 0 || !checked_add(segment.phys.value(), segment.length, &end) ||
        !checked_add(mapping_.total, segment.length, &mapping_.total))
      return fail(EINVAL, "a segment of the request is empty or too long");
    P2pType type = peers_.type_of(segment.phys);
    if (type != P2pType::kNone && segment.length - 1 > peers_.last_byte() - segment.phys)
      return fail(EINVAL, "a segment leaves the window of device memory");
    if (previous == nullptr) {
      mapping_.peer = type;
    } else {
      if (type != mapping_.peer) return fail(EINVAL, "a request mixes kinds of memory");
      uint64_t previous_end = previous->phys.value() + previous->length;
      if (previous_end != segment.phys.value()) gap_mask_ |= previous_end | segment.phys.value();
    }
    previous = &segment;
  }
  if (previous == nullptr) return fail(EINVAL, "the request has no memory");
  if (mapping_.peer == P2pType::kNotSupported) return fail(EREMOTEIO, "the device cannot reach its peer's memory");
  return {};
}

Status BlockDmaIter::link_all() {
  uint64_t linked = 0;
  auto link = [&]() -> Status {
    for (Vector vector; take_vector(vector); linked += vector.length)
      CW_TRY(dma::iova_link(device_, mapping_.iova, vector.phys, linked, vector.length, mapping_.direction, attrs()));
    return dma::iova_sync(device_, mapping_.iova, 0, linked);
  };
  Status done = link();
  if (!done) {
    dma::iova_destroy(device_, mapping_.iova, linked, mapping_.direction, attrs());
    mapping_.iova = {};
  }
  return done;
}

bool BlockDmaIter::start(const BlockRequest& request) {
  request_ = request;
  mapping_.iova = {};
  mapping_.total = 0;
  mapping_.direction = request.direction;
  mapping_.pieces.clear();
  if (Status checked = check(); !checked) return failed(checked);
  mapping_.live = true;

  // Boundary 0 (cannot merge) passes this test too; then there is no range to be had.
  bool one_range = mapping_.peer != P2pType::kBusAddress && (gap_mask_ & dma::merge_boundary(device_)) == 0;
  if (one_range && dma::iova_try_alloc(device_, mapping_.iova, request.segments.front().phys, mapping_.total)) {
    if (Status linked = link_all(); !linked) return failed(linked);
    whole_ = true;
    address_ = mapping_.iova.address;
    length_ = mapping_.total;
    return true;
  }
  mapping_.iova = {};
  return next();
}

bool BlockDmaIter::next() {
  Vector vector;
  if (!status_ || whole_ || !take_vector(vector)) return false;
  length_ = vector.length;
  if (mapping_.peer == P2pType::kBusAddress) {
    peers_.type_of(vector.phys);
    address_ = peers_.bus_address(vector.phys);
    return true;
  }
  address_ = dma::map_phys(device_, vector.phys, vector.length, mapping_.direction, attrs());
  if (Status mapped = dma::mapping_error(device_, address_); !mapped) return failed(mapped);
  mapping_.pieces.push_back({address_, length_});
  return true;
}

void unmap(dma::Device& device, BlockMapping& mapping) {
  if (!mapping.live) return;
  mapping.live = false;
  Attr attrs = mapping.peer == P2pType::kThruHostBridge ? Attr::kMmio : Attr::kNone;
  if (mapping.iova.in_use()) {
    dma::iova_destroy(device, mapping.iova, mapping.total, mapping.direction, attrs);
    mapping.iova = {};
  } else if (dma::need_unmap(device)) {
    // Asked only now: it was the maps of this very request that may have begun to bounce.
    for (const BlockMapping::Piece& piece : mapping.pieces)
      dma::unmap_phys(device, piece.address, piece.length, mapping.direction, attrs);
  }
  mapping.pieces.clear();
}

}  // namespace causeway::drivers
