// Streaming mappings that end with their owner.
//
//   Mapping buffer = CW_TRY(Mapping::map(device, phys, 4096, Direction::kFromDevice));
//   program(buffer.address());
//   ... the device writes ...
//   buffer.sync_for_cpu();                       // and it stays mapped
//                                                // unmapped here
//   SgMapping list = CW_TRY(SgMapping::map(device, std::move(entries), Direction::kToDevice));
//   for (const ScatterEntry& segment : list.segments()) program(segment.dma_address, segment.dma_length);
//
// The device must outlive them, and must be done with the memory. An owner belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/map.h"

namespace causeway::dma {

class Mapping {
 public:
  // ENOMEM, whatever the reason: it is in the log.
  static Result<Mapping> map(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs = Attr::kNone);
  static Result<Mapping> map_single(Device& device, const void* memory, size_t size, Direction direction,
                                    Attr attrs = Attr::kNone);
  // Registers: kMmio.
  static Result<Mapping> map_resource(Device& device, PhysAddr phys, size_t size, Direction direction) {
    return map(device, phys, size, direction, Attr::kMmio);
  }

  Mapping() = default;  // of nothing
  Mapping(Mapping&& other) noexcept { *this = std::move(other); }
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping() { reset(); }

  explicit operator bool() const { return device_ != nullptr; }
  DmaAddr address() const { return address_; }
  size_t size() const { return size_; }
  Direction direction() const { return direction_; }
  // Not of kMmio.
  void sync_for_cpu() { sync_for_cpu(0, size_); }
  void sync_for_device() { sync_for_device(0, size_); }
  // Inside the mapping, or nothing is synced.
  void sync_for_cpu(uint64_t offset, size_t size);
  void sync_for_device(uint64_t offset, size_t size);
  // Unmaps now.
  void reset();
  // The caller unmaps.
  DmaAddr release() { return device_ = nullptr, address_; }

 private:
  Mapping(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs)
      : device_(&device), address_(address), size_(size), direction_(direction), attrs_(attrs) {}
  static Result<Mapping> adopt(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs);
  bool covers(uint64_t offset, size_t size) const;
  Device* device_ = nullptr;
  DmaAddr address_ = kMappingError;
  size_t size_ = 0;
  Direction direction_ = Direction::kNone;
  Attr attrs_ = Attr::kNone;
};

class SgMapping {
 public:
  // Errors of map_sgtable().
  static Result<SgMapping> map(Device& device, std::vector<ScatterEntry> entries, Direction direction,
                               Attr attrs = Attr::kNone);

  SgMapping() = default;
  SgMapping(SgMapping&& other) noexcept { *this = std::move(other); }
  SgMapping& operator=(SgMapping&& other) noexcept;
  ~SgMapping() { reset(); }

  explicit operator bool() const { return device_ != nullptr; }
  // What the device is to be told: never more than entries.
  std::span<const ScatterEntry> segments() const { return std::span(table_.entries).first(table_.mapped); }
  void sync_for_cpu();
  void sync_for_device();
  void reset();

 private:
  Device* device_ = nullptr;
  ScatterTable table_;
  Direction direction_ = Direction::kNone;
  Attr attrs_ = Attr::kNone;
};

}  // namespace causeway::dma
