#include "drivers/descriptor_queue.h"

#include "base/log.h"

namespace causeway::drivers {

namespace reg = hw::dma_engine;

Status DescriptorQueue::allocate(dma::Device& device) {
  ring_ = CW_TRY(PreservedBuffer::allocate(device, ring_bytes()));
  completions_ = CW_TRY(PreservedBuffer::allocate(device, completion_bytes()));
  return {};
}

Status DescriptorQueue::restore(dma::Device& device, uint64_t ring_token, uint64_t completions_token) {
  ring_ = CW_TRY(PreservedBuffer::restore(device, ring_bytes(), ring_token));
  completions_ = CW_TRY(PreservedBuffer::restore(device, completion_bytes(), completions_token));
  return {};
}

Status DescriptorQueue::preserve(dma::Device& device) {
  CW_TRY(ring_.preserve(device));
  return completions_.preserve(device);
}

Status DescriptorQueue::release(dma::Device& device) {
  CW_TRY(ring_.release(device));
  return completions_.release(device);
}

void DescriptorQueue::program() {
  regs_.write64(base_ + reg::kRingBase, ring_.memory.handle.value());
  regs_.write64(base_ + reg::kCompBase, completions_.memory.handle.value());
  regs_.write32(base_ + reg::kRingLog2, log2_);
}

Status DescriptorQueue::check_device_agrees() const {
  uint64_t ring = reg64(reg::kRingBase);
  uint64_t completions = reg64(reg::kCompBase);
  uint32_t log2 = reg(reg::kRingLog2);
  if (ring == ring_.memory.handle.value() && completions == completions_.memory.handle.value() &&
      log2 == log2_ && enabled())
    return {};
  log::error("drivers",
             "the device runs with rings {:#x} and {:#x} of 2^{} entries, enabled {}; want {} and {} of 2^{}", ring,
             completions, log2, enabled(), ring_.memory.handle, completions_.memory.handle, log2_);
  return fail(EILSEQ, "the device does not run with the rings that were handed over");
}

void DescriptorQueue::enable(uint32_t extra_control) {
  write(reg::kQueueControl, static_cast<uint32_t>(reg::QueueEnable::make(1)) | extra_control);
}

}  // namespace causeway::drivers
