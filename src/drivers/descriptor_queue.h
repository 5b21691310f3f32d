// One queue of the DMA engine as its driver sees it: the two rings in memory and the queue's registers.
//
//   DescriptorQueue queue(regs, hw::dma_engine::kWorkQueue, log2);
//   CW_TRY(queue.allocate(device));
//   queue.program();                       // tells the device where the rings are
//   queue.descriptor(tail) = {...};
//   queue.ring_doorbell(tail + 1);
//
// Indices run freely in 32 bits, as in the device.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "drivers/preserved_buffer.h"
#include "hw/dma_engine.h"
#include "platform/mmio.h"

namespace causeway::drivers {

class DescriptorQueue {
 public:
  DescriptorQueue() = default;
  DescriptorQueue(platform::MmioWindow regs, unsigned queue, unsigned log2)
      : regs_(regs), base_(hw::dma_engine::queue_base(queue)), log2_(log2) {}

  Status allocate(dma::Device& device);
  // From the predecessor's tokens.
  Status restore(dma::Device& device, uint64_t ring_token, uint64_t completions_token);
  Status preserve(dma::Device& device);
  Status release(dma::Device& device);

  // The device learns where the rings are; indices start at 0.
  void program();
  // EILSEQ: the device does not run with these rings.
  Status check_device_agrees() const;
  void enable(uint32_t extra_control = 0);
  bool enabled() const { return hw::dma_engine::QueueEnable::get(reg(hw::dma_engine::kQueueControl)) != 0; }

  uint32_t entries() const { return 1u << log2_; }
  uint32_t slot(uint32_t index) const { return index & (entries() - 1); }
  hw::dma_engine::Descriptor& descriptor(uint32_t index) const {
    return ring_.memory.as<hw::dma_engine::Descriptor>()[slot(index)];
  }
  const hw::dma_engine::Completion& completion(uint32_t index) const {
    return completions_.memory.as<hw::dma_engine::Completion>()[slot(index)];
  }

  // What the device has produced so far; everything it wrote before is visible.
  uint32_t completions_produced() const { return regs_.peek32(base_ + hw::dma_engine::kCompTail); }
  void ring_doorbell(uint32_t tail) { regs_.write32(base_ + hw::dma_engine::kTail, tail); }
  void consumed(uint32_t comp_head) { regs_.write32(base_ + hw::dma_engine::kCompHead, comp_head); }
  uint32_t reg(uint32_t offset) const { return regs_.read32(base_ + offset); }
  uint64_t reg64(uint32_t offset) const { return regs_.read64(base_ + offset); }
  void write(uint32_t offset, uint32_t value) { regs_.write32(base_ + offset, value); }

  const PreservedBuffer& ring() const { return ring_; }
  const PreservedBuffer& completions() const { return completions_; }

 private:
  uint64_t ring_bytes() const { return uint64_t{entries()} * sizeof(hw::dma_engine::Descriptor); }
  uint64_t completion_bytes() const { return uint64_t{entries()} * sizeof(hw::dma_engine::Completion); }
  platform::MmioWindow regs_;
  uint32_t base_ = 0;
  unsigned log2_ = 0;
  PreservedBuffer ring_;
  PreservedBuffer completions_;
};

}  // namespace causeway::drivers
