#include "drivers/work_queue.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"

namespace causeway::drivers {

namespace reg = hw::dma_engine;

namespace {
constexpr uint64_t kTimeoutNs = 5'000'000'000;
}

Status WorkQueue::allocate(dma::Device& device) {
  CW_TRY(queue_.allocate(device));
  for (PreservedBuffer& buffer : buffers_) buffer = CW_TRY(PreservedBuffer::allocate(device, kWorkBufferSize));
  return {};
}

Status WorkQueue::restore(dma::Device& device, uint64_t ring, uint64_t completions,
                          const uint64_t (&buffers)[2]) {
  CW_TRY(queue_.restore(device, ring, completions));
  for (int i = 0; i < 2; ++i) buffers_[i] = CW_TRY(PreservedBuffer::restore(device, kWorkBufferSize, buffers[i]));
  return {};
}

Status WorkQueue::preserve(dma::Device& device) {
  CW_TRY(queue_.preserve(device));
  for (PreservedBuffer& buffer : buffers_) CW_TRY(buffer.preserve(device));
  return {};
}

Status WorkQueue::release(dma::Device& device) {
  CW_TRY(queue_.release(device));
  for (PreservedBuffer& buffer : buffers_) CW_TRY(buffer.release(device));
  return {};
}

void WorkQueue::start() {
  queue_.program();
  queue_.enable();
}

Status WorkQueue::drain() {
  // Each descriptor gives one completion, so the queue is empty when as many have come as were asked for.
  uint32_t tail = queue_.reg(reg::kTail);
  for (uint64_t begin = monotonic_ns(); queue_.completions_produced() != tail;) {
    if (monotonic_ns() - begin > kTimeoutNs) return fail(ETIMEDOUT, "the work queue did not drain");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  queue_.consumed(tail);
  return {};
}

Status WorkQueue::run(reg::Descriptor descriptor) {
  uint32_t tail = queue_.reg(reg::kTail);
  queue_.descriptor(tail) = descriptor;
  queue_.ring_doorbell(tail + 1);
  for (uint64_t begin = monotonic_ns(); queue_.completions_produced() != tail + 1;) {
    if (monotonic_ns() - begin > kTimeoutNs) return fail(ETIMEDOUT, "the device did not complete an operation");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  reg::TransferStatus status = queue_.completion(tail).status;
  queue_.consumed(tail + 1);
  if (status != reg::TransferStatus::kOk) return fail(EIO, "the device refused an operation");
  return {};
}

Status WorkQueue::verify_round_trip(uint64_t pattern) {
  DmaAddr source = buffers_[0].memory.handle;
  DmaAddr destination = buffers_[1].memory.handle;
  CW_TRY(run({.source = pattern,
              .destination = source.value(),
              .length = kWorkBufferSize,
              .op = reg::Op::kFill}));
  CW_TRY(run({.source = source.value(),
              .destination = destination.value(),
              .length = kWorkBufferSize,
              .op = reg::Op::kCopy}));
  auto* words = buffers_[1].memory.as<uint64_t>();
  bool same = std::all_of(words, words + kWorkBufferSize / sizeof(uint64_t),
                          [&](uint64_t word) { return word == pattern; });
  if (!same) return fail(EIO, "a copy by the device does not hold what was filled in");
  return {};
}

}  // namespace causeway::drivers
