// The workload's data buffers: plain pages, mapped anew for each command, and preserved, so that they can be handed over
// while commands use them.
//
//   DataBuffers buffers(kho);
//   CW_TRY(buffers.allocate(32, KiB(16)));
//   CW_TRY(buffers.preserve(blocks));                 // span of 32
//   use(buffers.cpu(7), buffers.phys(7));
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "kho/kho.h"

namespace causeway::drivers::nvme {

class DataBuffers {
 public:
  explicit DataBuffers(kho::Kho& kho) : kho_(kho) {}
  Status allocate(uint32_t count, uint32_t size);
  // What the predecessor's preserve() said. EIO: one is not a block of that size which was preserved.
  Status restore(std::span<const uint64_t> blocks, uint32_t size);
  // The physical address of each, for the successor.
  Status preserve(std::span<uint64_t> blocks);
  void release();
  // Frees them while the device uses them, and goes on as if nothing had happened (sabotage).
  void free_early();

  uint32_t count() const { return static_cast<uint32_t>(buffers_.size()); }
  std::byte* cpu(uint32_t index) const { return kho_.map().address(buffers_[index]); }
  PhysAddr phys(uint32_t index) const { return kho_.map().phys(buffers_[index]); }

 private:
  Order order() const { return Order::covering(size_); }
  kho::Kho& kho_;
  uint32_t size_ = 0;
  bool preserved_ = false;
  bool freed_ = false;  // by sabotage
  std::vector<mm::Page*> buffers_;
};

}  // namespace causeway::drivers::nvme
