// The smallest driver of an NVMe controller, for tests: one thread, rings in RAM, completions by polling.
//
//   MiniNvme disk(registers);
//   disk.enable(PhysAddr{0x100000});
//   disk.create_queue(1, PhysAddr{0x110000}, 16);
//   Completion done = disk.run(1, read_command(lba, blocks, prp1));
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <optional>

#include "hw/nvme.h"
#include "machine/testing/mini_driver.h"

namespace causeway::machine::testing {

namespace nvm = hw::nvme;

inline nvm::Command io_command(uint8_t opcode, uint64_t lba, uint32_t blocks, uint64_t prp1 = 0,
                               uint64_t prp2 = 0) {
  nvm::Command command{};
  command.opcode = opcode;
  command.nsid = nvm::kNamespaceId;
  command.prp1 = prp1;
  command.prp2 = prp2;
  nvm::set_lba(command, lba, blocks);
  return command;
}
inline nvm::Command read_command(uint64_t lba, uint32_t blocks, uint64_t prp1, uint64_t prp2 = 0) {
  return io_command(nvm::opcode::kRead, lba, blocks, prp1, prp2);
}
inline nvm::Command write_command(uint64_t lba, uint32_t blocks, uint64_t prp1, uint64_t prp2 = 0) {
  return io_command(nvm::opcode::kWrite, lba, blocks, prp1, prp2);
}

class MiniNvme {
 public:
  explicit MiniNvme(Registers& registers) : regs_(registers) {}

  // Admin rings of `entries` at `rings`; returns whether the controller became ready.
  bool enable(PhysAddr rings, uint32_t entries = 32) {
    set_rings(0, rings, entries);
    regs_.write32(nvm::kAqa,
                  static_cast<uint32_t>(nvm::AqaAsqs::make(entries - 1) | nvm::AqaAcqs::make(entries - 1)));
    regs_.write64(nvm::kAsq, queue_[0].submissions.value());
    regs_.write64(nvm::kAcq, queue_[0].completions.value());
    regs_.write32(nvm::kCc, static_cast<uint32_t>(nvm::CcEn::make(1) | nvm::CcIosqes::make(6) |
                                                  nvm::CcIocqes::make(4)));
    return regs_.read32(nvm::kCsts) == nvm::CstsRdy::make(1);
  }
  void disable() { regs_.write32(nvm::kCc, 0); }

  nvm::Status create_completions(unsigned queue, PhysAddr base, uint32_t entries, unsigned vector = 0,
                                 bool interrupts = false) {
    nvm::Command command{.opcode = nvm::admin::kCreateCq, .prp1 = base.value()};
    command.cdw10 = static_cast<uint32_t>(nvm::QueueId::make(queue) | nvm::QueueSize::make(entries - 1));
    command.cdw11 =
        static_cast<uint32_t>(nvm::QueueContiguous::make(1) | nvm::CqInterruptEnable::make(interrupts) |
                              nvm::CqVector::make(vector));
    return nvm::status_of(run(0, command).status);
  }
  nvm::Status create_submissions(unsigned queue, PhysAddr base, uint32_t entries, unsigned target) {
    nvm::Command command{.opcode = nvm::admin::kCreateSq, .prp1 = base.value()};
    command.cdw10 = static_cast<uint32_t>(nvm::QueueId::make(queue) | nvm::QueueSize::make(entries - 1));
    command.cdw11 = static_cast<uint32_t>(nvm::QueueContiguous::make(1) | nvm::SqCqid::make(target));
    return nvm::status_of(run(0, command).status);
  }
  void create_queue(unsigned queue, PhysAddr rings, uint32_t entries, unsigned vector = 0,
                    bool interrupts = false) {
    set_rings(queue, rings, entries);
    ASSERT_EQ(create_completions(queue, queue_[queue].completions, entries, vector, interrupts),
              nvm::Status::kSuccess);
    ASSERT_EQ(create_submissions(queue, queue_[queue].submissions, entries, queue), nvm::Status::kSuccess);
  }
  nvm::Status remove(uint8_t opcode, unsigned queue) {
    return nvm::status_of(run(0, {.opcode = opcode, .cdw10 = queue}).status);
  }
  // Goes on where a driver before this one has stopped, from the registers alone.
  void adopt(unsigned queue) {
    uint32_t block = nvm::cw_queue(queue);
    State& state = queue_[queue];
    state.submissions = PhysAddr(regs_.read64(block + nvm::kCwSqBase));
    state.completions = PhysAddr(regs_.read64(block + nvm::kCwCqBase));
    state.entries = regs_.read32(block + nvm::kCwSqEntries);
    state.tail = regs_.read32(block + nvm::kCwSqTail);
    state.head = regs_.read32(block + nvm::kCwCqHead);
    uint32_t tail = regs_.read32(block + nvm::kCwCqTail);
    bool phase = nvm::CwCqTailPhase::get(tail) != 0;
    state.phase = state.head <= nvm::CwCqTailIndex::get(tail) ? phase : !phase;
  }

  // Returns the command's identifier. Without the doorbell.
  uint16_t put(unsigned queue, nvm::Command command) {
    State& state = queue_[queue];
    command.cid = next_cid_++;
    auto* ring = reinterpret_cast<nvm::Command*>(regs_.ram(state.submissions));
    std::memcpy(&ring[state.tail], &command, sizeof command);
    state.tail = (state.tail + 1) % state.entries;
    return command.cid;
  }
  void ring_doorbell(unsigned queue) { regs_.write32(nvm::sq_doorbell(queue), queue_[queue].tail); }
  uint16_t post(unsigned queue, const nvm::Command& command) {
    uint16_t cid = put(queue, command);
    ring_doorbell(queue);
    return cid;
  }
  // The next completion, if there is one; `consume`: and tells the controller.
  std::optional<nvm::Completion> poll(unsigned queue, bool consume = true) {
    State& state = queue_[queue];
    auto* at = reinterpret_cast<uint64_t*>(regs_.ram(state.completions)) + size_t{2} * state.head;
    std::array<uint64_t, 2> words{0, std::atomic_ref<uint64_t>(at[1]).load(std::memory_order_acquire)};
    if (nvm::status_phase(static_cast<uint16_t>(words[1] >> 48)) != state.phase) return std::nullopt;
    words[0] = std::atomic_ref<uint64_t>(at[0]).load(std::memory_order_relaxed);
    if (++state.head == state.entries) {
      state.head = 0;
      state.phase = !state.phase;
    }
    if (consume) write_head(queue);
    return std::bit_cast<nvm::Completion>(words);
  }
  void write_head(unsigned queue) { regs_.write32(nvm::cq_doorbell(queue), queue_[queue].head); }
  nvm::Completion wait(unsigned queue) {
    std::optional<nvm::Completion> completion;
    EXPECT_TRUE(eventually([&] { return (completion = poll(queue)).has_value(); })) << "no completion";
    return completion.value_or(nvm::Completion{.status = 0xffff});
  }
  nvm::Completion run(unsigned queue, const nvm::Command& command) {
    uint16_t cid = post(queue, command);
    nvm::Completion done = wait(queue);
    EXPECT_EQ(done.cid, cid);
    EXPECT_EQ(done.sq_id, queue);
    return done;
  }
  nvm::Status status(unsigned queue, const nvm::Command& command) {
    return nvm::status_of(run(queue, command).status);
  }
  uint32_t index(unsigned queue, uint32_t reg) { return regs_.read32(nvm::cw_queue(queue) + reg); }
  void set_rings(unsigned queue, PhysAddr rings, uint32_t entries) {
    State& state = queue_[queue];
    state = {rings, rings + align_up(entries * sizeof(nvm::Command), kPageSize), entries, 0, 0, true};
    std::memset(regs_.ram(state.completions), 0, entries * sizeof(nvm::Completion));
  }

 private:
  struct State {
    PhysAddr submissions, completions;
    uint32_t entries = 0;
    uint32_t tail = 0, head = 0;
    bool phase = true;
  };
  Registers& regs_;
  std::array<State, nvm::kMaxQueues> queue_{};
  uint16_t next_cid_ = 1;
};

}  // namespace causeway::machine::testing
