// Behind an IOMMU: the bus addresses of commands in flight, kept in preserved memory (abi/nvme_v1.h), so that a successor can
// claim them before it consumes a completion, and unmap them after it has.
//
//   CommandMappings mappings(kho, depth);
//   if (CommandMappings::wanted(device)) CW_TRY(mappings.allocate());
//   CW_TRY(mappings.record(index, mapping));              // before the command counts as in flight
//   CW_TRY(mappings.restore(phys));                       // the successor
//   CW_TRY(mappings.claim(device, index, mapping));       // of a command that is in flight
//
// Not thread-safe: the queue's lock.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "drivers/abi/nvme_v1.h"
#include "drivers/block_dma.h"
#include "kho/kho.h"

namespace causeway::drivers::nvme {

class CommandMappings {
 public:
  CommandMappings(kho::Kho& kho, uint32_t depth) : kho_(kho), depth_(depth) {}

  // Mappings that lead to the data itself, never to a bounce buffer, and are looked at without caches to be asked.
  static bool wanted(const dma::Device& device) {
    return device.iommu() != nullptr && device.traits().coherent && !device.traits().untrusted;
  }
  Status allocate();
  // EINVAL: not preserved as one.
  Status restore(PhysAddr phys);
  Status preserve();
  void release();

  bool in_use() const { return records_ != nullptr; }
  uint64_t phys_value() const;  // for the handover; 0: not in use

  // E2BIG: more pieces than a record has. Nothing if not in use.
  Status record(uint32_t index, const BlockMapping& mapping);
  // EINVAL: damaged; errors of restore_mapping(). What was claimed before an error is in `mapping`.
  Status claim(dma::Device& device, uint32_t index, BlockMapping& mapping) const;

 private:
  Order order() const { return Order::covering(depth_ * sizeof(abi::MappingRecord)); }
  kho::Kho& kho_;
  const uint32_t depth_;
  abi::MappingRecord* records_ = nullptr;
};

}  // namespace causeway::drivers::nvme
