// For tests: memory and devices around one Swiotlb.
//
//   BounceBox box({.size = MiB(1), .areas = 4});
//   Device device = box.device(0xfff);                       // min_align_mask
//   PhysAddr bounce = must(box.map(device, box.data(0xe78), 100));
//   EXPECT_EQ(box.slot(bounce), 1u);
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dma/swiotlb/swiotlb.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {

class BounceBox {
 public:
  static constexpr uint64_t kData = KiB(512);  // of memory to be bounced

  explicit BounceBox(const Swiotlb::Options& options = {.size = MiB(1), .areas = 1})
      : system({.dma = {.swiotlb_size = 0}}),
        pool(must(Swiotlb::create(system.pages(), attributes, options))),
        data_(system.map().phys(must(system.pages().alloc_contig(kData >> kPageShift, 128, mm::kGfpKernel)))) {}

  Device device(uint32_t min_align_mask = 0, uint64_t boundary = 0, DeviceTraits traits = {},
                std::string name = "0000:00:01.0") {
    Device made = system.device(traits, std::move(name));
    made.set_parameters({.min_align_mask = min_align_mask, .segment_boundary_mask = boundary});
    made.set_swiotlb(pool.get());
    return made;
  }

  // An address in the memory to be bounced; its low 19 bits are `offset`.
  PhysAddr data(uint64_t offset = 0) const { return data_ + offset; }
  std::byte* at(PhysAddr phys) { return system.at(phys); }
  void fill(PhysAddr phys, size_t size, int value) { std::memset(at(phys), value, size); }
  // All of [phys, phys + size) is `value`.
  bool is(PhysAddr phys, size_t size, int value) {
    for (size_t i = 0; i < size; ++i)
      if (at(phys)[i] != static_cast<std::byte>(value)) return false;
    return true;
  }

  Result<PhysAddr> map(Device& device, PhysAddr orig, size_t size, Direction direction = Direction::kBidirectional,
                       uint64_t alloc_align_mask = 0, Attr attrs = Attr::kNone) {
    return pool->map(device, orig, size, alloc_align_mask, direction, &attrs);
  }
  void unmap(Device& device, PhysAddr bounce, size_t size, Direction direction = Direction::kBidirectional,
             Attr attrs = Attr::kNone) {
    pool->unmap(device, bounce, size, direction, attrs);
  }
  PhysAddr base() const { return pool->stats().base; }
  uint64_t slot(PhysAddr bounce) const { return (bounce - base()) >> kSlotShift; }
  uint64_t used() const { return pool->stats().used; }

  System system;
  PageAttributes attributes;
  std::unique_ptr<Swiotlb> pool;

 private:
  PhysAddr data_;
};

}  // namespace causeway::dma::testing
