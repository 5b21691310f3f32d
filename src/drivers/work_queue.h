// The DMA engine's work queue: copy and fill, one at a time, verified.
//
// It works on two buffers of the driver's own, which are preserved like the rest: an operation that is in
// flight when the kernel dies can only write there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "drivers/descriptor_queue.h"
#include "kho/kho.h"

namespace causeway::drivers {

inline constexpr unsigned kWorkLog2 = 6;
inline constexpr uint64_t kWorkBufferSize = KiB(64);

class WorkQueue {
 public:
  WorkQueue() = default;
  explicit WorkQueue(platform::MmioWindow regs)
      : queue_(regs, hw::dma_engine::kWorkQueue, kWorkLog2) {}

  Status allocate(dma::Device& device);
  Status restore(dma::Device& device, uint64_t ring, uint64_t completions, const uint64_t (&buffers)[2]);
  Status preserve(dma::Device& device);
  Status release(dma::Device& device);
  void start();
  // Waits until the predecessor's operations have ended. ETIMEDOUT.
  Status drain();

  // Fills one buffer with `pattern`, copies it to the other, compares. EIO: wrong bytes or a refused
  // operation; ETIMEDOUT: no completion.
  Status verify_round_trip(uint64_t pattern);

  // Fresh pages, each mapped, written by the device and unmapped in turn. Addresses come again soon: a page that the device
  // wrote through a translation it should have forgotten is a page that misses its pattern. EIO, ETIMEDOUT, ENOMEM.
  Status verify_fresh_maps(dma::Device& device, kho::Kho& kho, uint64_t pattern);

  DescriptorQueue& queue() { return queue_; }
  const PreservedBuffer& buffer(unsigned i) const { return buffers_[i]; }

 private:
  Status run(hw::dma_engine::Descriptor descriptor);
  Status fill_pages(dma::Device& device, std::byte* bytes, uint64_t pattern);
  DescriptorQueue queue_;
  uint64_t turn_ = 0;  // of fill_pages()
  PreservedBuffer buffers_[2];
};

}  // namespace causeway::drivers
