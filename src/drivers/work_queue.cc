#include "drivers/work_queue.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "dma/map.h"

namespace causeway::drivers {

namespace reg = hw::dma_engine;

namespace {
constexpr uint64_t kTimeoutNs = 5'000'000'000;
constexpr Order kFreshPages{4};
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

Status WorkQueue::fill_pages(dma::Device& device, std::byte* bytes, uint64_t pattern) {
  // In another order each time: allocators give back what was freed last, so the same addresses would always lead to the
  // same memory, and what the IOTLB had not forgotten would be right by chance.
  for (uint64_t n = 0; n < kFreshPages.pages(); ++n) {
    const uint64_t i = (n + turn_) % kFreshPages.pages();
    DmaAddr address = dma::map_single(device, bytes + i * kPageSize, kPageSize, dma::Direction::kFromDevice);
    CW_TRY(dma::mapping_error(device, address));
    Status written = run({.source = pattern + i, .destination = address.value(), .length = kPageSize, .op = reg::Op::kFill});
    // What did not complete may still be under way.
    if (!written && written.error().code == Errno{ETIMEDOUT}) return written;
    dma::unmap_single(device, address, kPageSize, dma::Direction::kFromDevice);
    CW_TRY(written);
  }
  ++turn_;
  const auto* words = reinterpret_cast<const uint64_t*>(bytes);
  for (uint64_t i = 0; i < kFreshPages.bytes() / sizeof(uint64_t); ++i)
    if (words[i] != pattern + i * sizeof(uint64_t) / kPageSize)
      return fail(EIO, "the device wrote through a mapping that had been taken from it");
  return {};
}

// Preserved for as long as the device may write there: a successor waits for the operation that is under way, but does not
// know its memory, whose mapping it does not claim.
Status WorkQueue::verify_fresh_maps(dma::Device& device, kho::Kho& kho, uint64_t pattern) {
  mm::Page* page = CW_TRY(kho.allocator().alloc_pages(kFreshPages, mm::kGfpKernel | mm::kGfpZero));
  Status preserved = kho.is_enabled() ? kho.preserve_page(page, kFreshPages) : Status{};
  Status filled = preserved ? fill_pages(device, kho.map().address_as<std::byte>(page), pattern) : preserved;
  if (!filled && filled.error().code == Errno{ETIMEDOUT}) return filled;
  if (preserved && kho.is_enabled()) kho.unpreserve_page(page, kFreshPages);
  kho.allocator().free_pages(page, kFreshPages);
  return filled;
}

}  // namespace causeway::drivers
