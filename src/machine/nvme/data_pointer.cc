#include "machine/nvme/data_pointer.h"

#include <algorithm>
#include <array>

namespace causeway::machine::nvme {

namespace regs = hw::nvme;
using regs::SglDescriptor;
using regs::SglType;
using regs::Status;

namespace {
// Entries read at once: a page of them.
constexpr uint32_t kDescriptorsAtOnce = kPageSize / sizeof(SglDescriptor);

bool is_segment(SglType type) {
  return type == SglType::kSegment || type == SglType::kLastSegment;
}
SglType type_of(const SglDescriptor& descriptor) {
  return static_cast<SglType>(regs::SglTypeField::get(descriptor.identifier));
}
}  // namespace

Outcome outcome_of(DmaStatus status) {
  if (status == DmaStatus::kOk) return Status::kSuccess;
  if (status == DmaStatus::kBusMasterOff) return std::nullopt;
  return Status::kDataTransferError;
}

Outcome DataPointer::walk(const regs::Command& command, uint64_t bytes, DmaPort& port) {
  segments_.clear();
  switch (static_cast<regs::Psdt>(regs::CommandPsdt::get(command.flags))) {
    case regs::Psdt::kPrp:
      return walk_prps(command, bytes, port);
    case regs::Psdt::kSgl:
      return walk_sgl(command, bytes, port);
    default:
      return Status::kInvalidField;
  }
}

void DataPointer::add(uint64_t address, uint64_t bytes) {
  // What starts at 0 continues nothing: an address that wraps is not to look like a run.
  if (!segments_.empty() && address != 0) {
    Segment& last = segments_.back();
    if (last.address.value() + last.bytes == address) {
      last.bytes += bytes;
      return;
    }
  }
  segments_.push_back({DmaAddr(address), bytes});
}

Outcome DataPointer::walk_prps(const regs::Command& command, uint64_t bytes, DmaPort& port) {
  if (!is_aligned(command.prp1, 4)) return Status::kPrpOffsetInvalid;
  uint64_t first = std::min(bytes, kPageSize - (command.prp1 & ~kPageMask));
  add(command.prp1, first);
  uint64_t left = bytes - first;
  if (left == 0) return Status::kSuccess;
  if (left <= kPageSize) {
    if (!is_aligned(command.prp2, kPageSize)) return Status::kPrpOffsetInvalid;
    add(command.prp2, left);
    return Status::kSuccess;
  }
  uint64_t list = command.prp2;
  if (!is_aligned(list, 8)) return Status::kPrpOffsetInvalid;
  std::array<uint64_t, regs::kPrpsPerPage> entries;
  while (true) {
    // The room to the end of the list's page; with more to come its last entry is the next list.
    uint64_t room = (kPageSize - (list & ~kPageMask)) / sizeof(uint64_t);
    uint64_t wanted = pages_for(left);
    uint64_t count = std::min(room, wanted);
    if (Outcome read = outcome_of(port.read(DmaAddr(list), entries.data(), count * sizeof(uint64_t)));
        read != Status::kSuccess)
      return read;
    uint64_t data_entries = wanted > room ? room - 1 : count;
    for (uint64_t i = 0; i < data_entries; ++i) {
      if (!is_aligned(entries[i], kPageSize)) return Status::kPrpOffsetInvalid;
      uint64_t part = std::min(left, kPageSize);
      add(entries[i], part);
      left -= part;
    }
    if (left == 0) return Status::kSuccess;
    list = entries[room - 1];
    if (!is_aligned(list, kPageSize)) return Status::kPrpOffsetInvalid;
  }
}

Outcome DataPointer::add_block(const SglDescriptor& descriptor, uint64_t* left) {
  if (descriptor.length > *left) return Status::kSglLengthInvalid;
  if (uint64_t end; !checked_add(descriptor.address, descriptor.length, &end))
    return Status::kDataTransferError;
  if (descriptor.length != 0) add(descriptor.address, descriptor.length);
  *left -= descriptor.length;
  return Status::kSuccess;
}

Outcome DataPointer::walk_sgl(const regs::Command& command, uint64_t bytes, DmaPort& port) {
  uint64_t left = bytes;
  SglDescriptor current = regs::sgl1(command);
  uint32_t seen = 0;
  auto check = [](const SglDescriptor& descriptor) {
    SglType type = type_of(descriptor);
    bool known = type == SglType::kDataBlock || is_segment(type);
    return known && regs::SglSubtypeField::get(descriptor.identifier) == 0;
  };
  if (!check(current)) return Status::kSglTypeInvalid;
  std::array<SglDescriptor, kDescriptorsAtOnce> page;
  while (is_segment(type_of(current))) {
    const bool is_last_segment = type_of(current) == SglType::kLastSegment;
    if (current.length == 0 || current.length % sizeof(SglDescriptor) != 0) return Status::kSglSegmentInvalid;
    const auto count = static_cast<uint32_t>(current.length / sizeof(SglDescriptor));
    // A chain of segments may be a circle.
    seen += count;
    if (count > regs::kMaxSglDescriptors || seen > regs::kMaxSglDescriptors) return Status::kSglCountInvalid;
    uint64_t address = current.address;
    if (uint64_t end; !checked_add(address, current.length, &end)) return Status::kDataTransferError;
    SglDescriptor next{};
    for (uint32_t done = 0; done < count;) {
      uint32_t part = std::min(count - done, kDescriptorsAtOnce);
      uint64_t part_bytes = part * sizeof(SglDescriptor);
      if (Outcome read = outcome_of(port.read(DmaAddr(address), page.data(), part_bytes));
          read != Status::kSuccess)
        return read;
      address += part_bytes;
      for (uint32_t i = 0; i < part; ++i, ++done) {
        if (!check(page[i])) return Status::kSglTypeInvalid;
        const bool may_point_on = !is_last_segment && done + 1 == count;
        if (is_segment(type_of(page[i])) != may_point_on) return Status::kSglSegmentInvalid;
        if (may_point_on) {
          next = page[i];
        } else if (Outcome added = add_block(page[i], &left); added != Status::kSuccess) {
          return added;
        }
      }
    }
    if (is_last_segment) return left == 0 ? Status::kSuccess : Status::kSglLengthInvalid;
    current = next;
  }
  if (Outcome added = add_block(current, &left); added != Status::kSuccess) return added;
  return left == 0 ? Status::kSuccess : Status::kSglLengthInvalid;
}

}  // namespace causeway::machine::nvme
