// The smallest driver of a DMA engine, for tests: programs queues, posts descriptors, reaps completions.
// What it stands on (a raw kernel or a platform) is behind Registers.
//
//   MiniDriver driver(registers);
//   driver.reset();
//   driver.set_up(kWorkQueue, PhysAddr{0x100000}, 6);
//   driver.post(kWorkQueue, {.source = a, .destination = b, .length = 64, .op = Op::kCopy});
//   Completion done = driver.wait(kWorkQueue);
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "base/types.h"
#include "hw/dma_engine.h"
#include "machine/testing/raw_kernel.h"

namespace causeway::machine::testing {

namespace regs = hw::dma_engine;

class Registers {
 public:
  virtual ~Registers() = default;
  virtual void write32(uint32_t offset, uint32_t value) = 0;
  virtual void write64(uint32_t offset, uint64_t value) = 0;
  virtual uint32_t read32(uint32_t offset) = 0;
  virtual uint64_t read64(uint32_t offset) = 0;
  virtual uint32_t read32_with_effect(uint32_t offset) = 0;
  virtual std::byte* ram(PhysAddr address) = 0;
};

// Registers of the function at `bdf`, through a RawKernel; turns on memory decoding and the bus.
class RawRegisters final : public Registers {
 public:
  explicit RawRegisters(RawKernel& kernel, Bdf bdf = Bdf(0, 1, 0))
      : kernel_(kernel), config_(kernel.config(bdf)) {
    bar_ = PhysAddr(kernel_.read(config_ + hw::pci::kBar0, 4) & ~0xfu);
    set_command(true);
  }
  void set_command(bool bus_master) {
    kernel_.write(config_ + hw::pci::kCommand,
                  hw::pci::CommandMemory::make(1) | hw::pci::CommandBusMaster::make(bus_master), 2);
    kernel_.flush();
  }
  PhysAddr bar() const { return bar_; }
  void write32(uint32_t offset, uint32_t value) override { kernel_.write(bar_ + offset, value, 4); }
  void write64(uint32_t offset, uint64_t value) override { kernel_.write(bar_ + offset, value, 8); }
  uint32_t read32(uint32_t offset) override { return static_cast<uint32_t>(kernel_.read(bar_ + offset, 4)); }
  uint64_t read64(uint32_t offset) override { return kernel_.read(bar_ + offset, 8); }
  uint32_t read32_with_effect(uint32_t offset) override {
    return static_cast<uint32_t>(kernel_.read_with_effect(bar_ + offset, 4));
  }
  std::byte* ram(PhysAddr address) override { return kernel_.ram(address); }

 private:
  RawKernel& kernel_;
  PhysAddr config_;
  PhysAddr bar_;
};

class MiniDriver {
 public:
  explicit MiniDriver(Registers& registers) : regs_(registers) {}

  void reset() {
    regs_.write32(regs::kControl, regs::ControlReset::make(1));
    ASSERT_EQ(regs_.read32(regs::kControl) & regs::ControlReset::kMask, 0u);
  }

  // Rings of 1 << log2 entries at `rings`: descriptors, then completions.
  void set_up(unsigned queue, PhysAddr rings, unsigned log2, uint32_t extra_control = 0) {
    set_rings(queue, rings, log2);
    uint32_t base = regs::queue_base(queue);
    regs_.write64(base + regs::kRingBase, rings.value());
    regs_.write64(base + regs::kCompBase, rings.value() + (sizeof(regs::Descriptor) << log2));
    regs_.write32(base + regs::kRingLog2, log2);
    regs_.write32(base + regs::kQueueControl,
                  static_cast<uint32_t>(regs::QueueEnable::make(1)) | extra_control);
  }
  void set_up_stream(PhysAddr rings, unsigned log2, uint32_t rate, uint32_t record_size,
                     uint32_t extra_control = 0) {
    uint32_t base = regs::queue_base(regs::kStreamQueue);
    regs_.write32(base + regs::kRecordSize, record_size);
    set_up(regs::kStreamQueue, rings, log2, extra_control);
    regs_.write32(base + regs::kRate, rate);
  }
  // Goes on where a driver before this one has stopped.
  void adopt(unsigned queue, PhysAddr rings, unsigned log2) {
    set_rings(queue, rings, log2);
    uint32_t base = regs::queue_base(queue);
    queue_[queue].tail = regs_.read32(base + regs::kTail);
    queue_[queue].comp_head = regs_.read32(base + regs::kCompHead);
  }

  void post(unsigned queue, const regs::Descriptor& descriptor) {
    put(queue, descriptor);
    ring_doorbell(queue);
  }
  // Without the doorbell.
  void put(unsigned queue, const regs::Descriptor& descriptor) {
    State& state = queue_[queue];
    auto* ring = reinterpret_cast<regs::Descriptor*>(regs_.ram(state.descriptors));
    std::memcpy(&ring[state.tail++ % state.entries], &descriptor, sizeof descriptor);
  }
  void ring_doorbell(unsigned queue) {
    regs_.write32(regs::queue_base(queue) + regs::kTail, queue_[queue].tail);
  }
  uint32_t tail(unsigned queue) const { return queue_[queue].tail; }
  uint32_t entries(unsigned queue) const { return queue_[queue].entries; }

  std::optional<regs::Completion> poll(unsigned queue) {
    State& state = queue_[queue];
    if (regs_.read32(regs::queue_base(queue) + regs::kCompTail) == state.comp_head) return std::nullopt;
    regs::Completion completion;
    auto* ring = reinterpret_cast<regs::Completion*>(regs_.ram(state.completions));
    std::memcpy(&completion, &ring[state.comp_head % state.entries], sizeof completion);
    EXPECT_EQ(completion.descriptor, state.comp_head);
    regs_.write32(regs::queue_base(queue) + regs::kCompHead, ++state.comp_head);
    return completion;
  }
  regs::Completion wait(unsigned queue) {
    std::optional<regs::Completion> completion;
    EXPECT_TRUE(eventually([&] { return (completion = poll(queue)).has_value(); })) << "no completion";
    return completion.value_or(regs::Completion{});
  }
  // Posts one descriptor and waits for what becomes of it.
  regs::Completion run(unsigned queue, const regs::Descriptor& descriptor) {
    post(queue, descriptor);
    return wait(queue);
  }
  uint32_t read32(unsigned queue, uint32_t offset) { return regs_.read32(regs::queue_base(queue) + offset); }
  uint64_t read64(unsigned queue, uint32_t offset) { return regs_.read64(regs::queue_base(queue) + offset); }
  void write32(unsigned queue, uint32_t offset, uint32_t value) {
    regs_.write32(regs::queue_base(queue) + offset, value);
  }
  Registers& registers() { return regs_; }

 private:
  struct State {
    PhysAddr descriptors, completions;
    uint32_t entries = 0, tail = 0, comp_head = 0;
  };
  void set_rings(unsigned queue, PhysAddr rings, unsigned log2) {
    queue_[queue] = {rings, rings + (sizeof(regs::Descriptor) << log2), 1u << log2};
  }
  Registers& regs_;
  State queue_[regs::kQueues];
};

inline regs::Descriptor copy(uint64_t source, uint64_t destination, uint32_t length, uint64_t cookie = 0) {
  return {source, destination, length, regs::Op::kCopy, 0, 0, cookie};
}
inline regs::Descriptor fill(uint64_t pattern, uint64_t destination, uint32_t length, uint64_t cookie = 0) {
  return {pattern, destination, length, regs::Op::kFill, 0, 0, cookie};
}
inline regs::Descriptor buffer(uint64_t destination, uint32_t length, uint64_t cookie = 0) {
  return {0, destination, length, regs::Op::kStream, 0, 0, cookie};
}

}  // namespace causeway::machine::testing
