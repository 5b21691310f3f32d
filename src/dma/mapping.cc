#include "dma/mapping.h"

namespace causeway::dma {

Result<Mapping> Mapping::adopt(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  CW_TRY(mapping_error(device, address));
  return Mapping(device, address, size, direction, attrs);
}

Result<Mapping> Mapping::map(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs) {
  return adopt(device, map_phys(device, phys, size, direction, attrs), size, direction, attrs);
}

Result<Mapping> Mapping::map_single(Device& device, const void* memory, size_t size, Direction direction, Attr attrs) {
  return adopt(device, dma::map_single(device, memory, size, direction, attrs), size, direction, attrs);
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this == &other) return *this;
  reset();
  device_ = std::exchange(other.device_, nullptr);
  address_ = other.address_;
  size_ = other.size_;
  direction_ = other.direction_;
  attrs_ = other.attrs_;
  return *this;
}

bool Mapping::covers(uint64_t offset, size_t size) const {
  return device_ != nullptr && !has(attrs_, Attr::kMmio) && offset <= size_ && size <= size_ - offset;
}

void Mapping::sync_for_cpu(uint64_t offset, size_t size) {
  if (covers(offset, size)) sync_single_range_for_cpu(*device_, address_, offset, size, direction_);
}

void Mapping::sync_for_device(uint64_t offset, size_t size) {
  if (covers(offset, size)) sync_single_range_for_device(*device_, address_, offset, size, direction_);
}

void Mapping::reset() {
  if (Device* device = std::exchange(device_, nullptr)) unmap_phys(*device, address_, size_, direction_, attrs_);
}

Result<SgMapping> SgMapping::map(Device& device, std::vector<ScatterEntry> entries, Direction direction, Attr attrs) {
  SgMapping made;
  made.table_.entries = std::move(entries);
  made.direction_ = direction;
  made.attrs_ = attrs;
  CW_TRY(map_sgtable(device, made.table_, direction, attrs));
  // A device without a mask: success, and nothing to undo.
  if (made.table_.mapped != 0) made.device_ = &device;
  return made;
}

SgMapping& SgMapping::operator=(SgMapping&& other) noexcept {
  if (this == &other) return *this;
  reset();
  device_ = std::exchange(other.device_, nullptr);
  table_ = std::exchange(other.table_, {});
  direction_ = other.direction_;
  attrs_ = other.attrs_;
  return *this;
}

void SgMapping::sync_for_cpu() {
  if (device_ != nullptr) sync_sg_for_cpu(*device_, table_.entries, direction_);
}

void SgMapping::sync_for_device() {
  if (device_ != nullptr) sync_sg_for_device(*device_, table_.entries, direction_);
}

void SgMapping::reset() {
  if (Device* device = std::exchange(device_, nullptr)) unmap_sgtable(*device, table_, direction_, attrs_);
}

}  // namespace causeway::dma
