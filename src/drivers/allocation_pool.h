// A driver without a device: owns any number of coherent allocations and hands them over. It stands
// for all the others a real kernel has, so that the cost of many preserved allocations can be seen.
//
//   AllocationPool pool(kho, device);
//   CW_TRY(pool.restore_or_allocate(10000));
//   CW_TRY(pool.preserve());
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "drivers/preserved_buffer.h"
#include "kho/block_set.h"

namespace causeway::drivers {

inline constexpr char kAllocationPoolSubtree[] = "allocation-pool";

class AllocationPool {
 public:
  AllocationPool(kho::Kho& kho, dma::Device& device) : kho_(kho), device_(device) {}

  // The predecessor's allocations if it left any, else `count` new ones of one page.
  Status restore_or_allocate(uint64_t count);
  // All of them, and the subtree by which the next kernel finds them. Each holds its own number; EILSEQ if
  // one came back with something else.
  Status preserve();
  void handover_committed();
  uint64_t size() const { return buffers_.size(); }

 private:
  Status check_contents() const;

  kho::Kho& kho_;
  dma::Device& device_;
  std::vector<PreservedBuffer> buffers_;
  std::optional<kho::BlockSet> table_;
  std::optional<kho::BlockSet> predecessor_table_;
  void* predecessor_state_ = nullptr;
};

}  // namespace causeway::drivers
