// For tests: an allocation in flight, preserved by a kernel that has gone.
//
//   InFlight sent = send(system, KiB(20));
//   system.kexec();
//   expect_leaked(system, sent);
#pragma once

#include <gtest/gtest.h>

#include "dma/testing/boot.h"

namespace causeway::dma::testing {

inline void fill(void* memory, uint64_t size, unsigned seed) {
  auto* bytes = static_cast<uint8_t*>(memory);
  for (uint64_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + (i >> kPageShift) + seed);
}
inline bool filled(const void* memory, uint64_t size, unsigned seed) {
  const auto* bytes = static_cast<const uint8_t*>(memory);
  for (uint64_t i = 0; i < size; ++i)
    if (bytes[i] != static_cast<uint8_t>(i * 7 + (i >> kPageShift) + seed)) return false;
  return true;
}

struct InFlight {
  uint64_t size;
  DmaAddr handle;
  PhysAddr phys;
  Token token;
  Attr attrs;
};

inline InFlight send(System& system, uint64_t size, DeviceTraits traits = {}, Attr attrs = Attr::kNone,
                     unsigned seed = 1) {
  Device device = system.device(traits);
  Coherent memory = must(alloc_attrs(device, size, mm::kGfpKernel, attrs));
  fill(memory.cpu, size, seed);
  Token token = must(preserve_allocation(device, memory, attrs));
  return {size, memory.handle, *device.to_phys(memory.handle), token, attrs};
}

inline uint64_t block_pages(uint64_t size) {
  return Order::covering(size).pages();
}

// The memory is nobody's and never will be: reserved, unchanged, the token spent.
inline void expect_leaked(System& system, const InFlight& sent, unsigned seed = 1) {
  for (uint64_t i = 0; i < block_pages(sent.size); ++i)
    EXPECT_EQ(system.state(sent.phys, i), mm::FrameState::kReserved) << "page " << i;
  EXPECT_TRUE(filled(system.at(sent.phys), sent.size, seed));
  DmaStats stats = system.dma().stats();
  EXPECT_EQ(stats.leaked, 1u);
  EXPECT_EQ(stats.leaked_pages, block_pages(sent.size));
  EXPECT_EQ(stats.restored, 0u);
  EXPECT_EQ(stats.allocations, 0u);
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

}  // namespace causeway::dma::testing
