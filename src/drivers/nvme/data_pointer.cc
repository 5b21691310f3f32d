#include "drivers/nvme/data_pointer.h"

namespace causeway::drivers::nvme {

using hw::nvme::Command;
using hw::nvme::SglDescriptor;
using hw::nvme::SglType;

void DataPointer::clear() {
  pieces_.clear();
  total_ = 0;
}

void DataPointer::add(DmaAddr address, uint64_t length) {
  total_ += length;
  // Vectors that were mapped apart may be neighbours on the bus.
  if (!pieces_.empty() && pieces_.back().address + pieces_.back().length == address.value()) {
    pieces_.back().length += length;
    return;
  }
  pieces_.push_back({address.value(), length});
}

bool DataPointer::fits_prp() const {
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (i > 0 && !is_aligned(pieces_[i].address, kPageSize)) return false;
    if (i + 1 < pieces_.size() && !is_aligned(pieces_[i].address + pieces_[i].length, kPageSize)) return false;
  }
  return true;
}

Status DataPointer::describe(Command& command, const ListPage& list) const {
  if (pieces_.empty()) return fail(EINVAL, "a command without data has nothing to describe");
  for (const Piece& piece : pieces_)
    if (!is_aligned(piece.address, 4) || !is_aligned(piece.length, 4))
      return fail(EINVAL, "the controller takes data in units of 4 bytes");
  if (!fits_prp()) {
    if (!sgl_) return fail(EINVAL, "PRP entries cannot describe a gap inside a page");
    return describe_sgl(command, list);
  }
  uint64_t first_page_bytes = kPageSize - (pieces_[0].address & ~kPageMask);
  bool needs_list = total_ > first_page_bytes + kPageSize;
  if (sgl_ && needs_list && total_ / pieces_.size() >= kSglThreshold) return describe_sgl(command, list);
  return describe_prp(command, list);
}

Status DataPointer::describe_prp(Command& command, const ListPage& list) const {
  auto* entries = static_cast<uint64_t*>(list.cpu);
  size_t count = 0;  // of pages so far; the first is PRP1
  for (const Piece& piece : pieces_) {
    for (uint64_t at = piece.address, end = piece.address + piece.length; at < end; at = align_down(at, kPageSize) + kPageSize) {
      if (count > hw::nvme::kPrpsPerPage) return fail(E2BIG, "more pages than a list has entries");
      if (count == 0) {
        command.prp1 = at;
      } else {
        entries[count - 1] = at;
      }
      ++count;
    }
  }
  command.prp2 = count == 1 ? 0 : count == 2 ? entries[0] : list.handle.value();
  return {};
}

Status DataPointer::describe_sgl(Command& command, const ListPage& list) const {
  if (pieces_.size() > kMaxSegments) return fail(E2BIG, "more segments than a list has descriptors");
  auto* descriptors = static_cast<SglDescriptor*>(list.cpu);
  size_t count = 0;
  for (const Piece& piece : pieces_) {
    if (piece.length > ~uint32_t{0}) return fail(E2BIG, "a segment is longer than a descriptor can say");
    descriptors[count++] =
        hw::nvme::sgl_descriptor(SglType::kDataBlock, piece.address, static_cast<uint32_t>(piece.length));
  }
  if (count == 1) {
    hw::nvme::set_sgl(command, descriptors[0]);
  } else {
    hw::nvme::set_sgl(command, hw::nvme::sgl_descriptor(SglType::kLastSegment, list.handle.value(),
                                                        static_cast<uint32_t>(count * sizeof(SglDescriptor))));
  }
  return {};
}

}  // namespace causeway::drivers::nvme
