// Spec scenario 86: random operations against a model that knows what every block must be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "base/log.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

// A block lives in one of these states; what is in none of them is free or not DMA memory.
enum class Is { kAllocated, kPreserved, kInFlight, kLeaked };

struct Block {
  Is is;
  Coherent memory;
  PhysAddr phys;
  Token token;
  DeviceTraits traits;
  uint64_t stamp;
  uint64_t pages() const { return Order::covering(memory.size).pages(); }
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {}

  void run(unsigned operations) {
    for (unsigned i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
      unsigned dice = pick(1000);
      if (dice < 380)
        allocate();
      else if (dice < 560)
        release();
      else if (dice < 760)
        preserve();
      else if (dice < 860)
        unpreserve();
      else if (dice < 990)
        restore();
      else
        kexec();
      if (i % 100 == 0) audit();
    }
    finish();
  }

 private:
  unsigned pick(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random_); }
  Block* pick(Is is) {
    std::vector<Block*> candidates;
    for (Block& block : blocks_)
      if (block.is == is) candidates.push_back(&block);
    return candidates.empty() ? nullptr : candidates[pick(static_cast<unsigned>(candidates.size()))];
  }
  void forget(Block* block) { blocks_.erase(blocks_.begin() + (block - blocks_.data())); }

  // Marks the beginning of every page asked for.
  void stamp(const Block& block) {
    for (uint64_t at = 0; at + 8 <= block.memory.size; at += kPageSize) {
      uint64_t value = block.stamp + at;
      std::memcpy(block.memory.as<std::byte>() + at, &value, 8);
    }
  }
  bool stamped(const Block& block) {
    for (uint64_t at = 0; at + 8 <= block.memory.size; at += kPageSize) {
      uint64_t value;
      std::memcpy(&value, system_.at(block.phys + at), 8);
      if (value != block.stamp + at) return false;
    }
    return true;
  }

  void allocate() {
    if (blocks_.size() > 200) return;
    static constexpr uint64_t kSizes[] = {64, 4096, 4097, 8193, 20480, 65536, 65537};
    static constexpr DeviceTraits kTraits[] = {{}, {}, {.coherent = false}, {.force_unencrypted = true}};
    DeviceTraits traits = kTraits[pick(4)];
    Device device = system_.device(traits);
    auto memory = alloc_attrs(device, kSizes[pick(7)], kSleep, Attr::kNoWarn);
    ASSERT_TRUE(memory);
    blocks_.push_back({Is::kAllocated, *memory, *device.to_phys(memory->handle), Token{}, traits, random_()});
    stamp(blocks_.back());
  }
  void release() {
    // Now and then of something preserved, which must be refused.
    if (pick(10) == 0) {
      if (Block* block = pick(Is::kPreserved)) {
        Device device = system_.device(block->traits);
        ASSERT_EQ(error_of(free_coherent(device, block->memory)), EBUSY);
      }
      return;
    }
    if (Block* block = pick(Is::kAllocated)) {
      Device device = system_.device(block->traits);
      ASSERT_TRUE(free_coherent(device, block->memory));
      forget(block);
    }
  }
  void preserve() {
    if (Block* block = pick(Is::kAllocated)) {
      Device device = system_.device(block->traits);
      block->token = must(preserve_allocation(device, block->memory, Attr::kNone));
      block->is = Is::kPreserved;
    }
  }
  void unpreserve() {
    if (Block* block = pick(Is::kPreserved)) {
      Device device = system_.device(block->traits);
      ASSERT_TRUE(unpreserve_allocation(device, block->token));
      ASSERT_FALSE(unpreserve_allocation(device, block->token));
      block->is = Is::kAllocated;
    }
  }
  void restore() {
    Block* block = pick(Is::kInFlight);
    if (block == nullptr) return;
    Device device = system_.device(block->traits);
    const bool wrong_size = pick(12) == 0;
    uint64_t size = block->memory.size + (wrong_size ? 1 : 0);
    auto memory = restore_allocation(device, size, kSleep, Attr::kNone, block->token);
    ASSERT_EQ(memory.has_value(), !wrong_size);
    ASSERT_EQ(error_of(restore_allocation(device, block->memory.size, kSleep, Attr::kNone, block->token)),
              EINVAL);
    if (!memory) {
      block->is = Is::kLeaked;
      return;
    }
    ASSERT_EQ(memory->handle, block->memory.handle);
    block->memory = *memory;
    block->is = Is::kAllocated;
    ++restores_;
  }
  void kexec() {
    system_.kexec();
    ++kexecs_;
    // What was not preserved has died with its kernel.
    std::erase_if(blocks_, [](const Block& block) { return block.is != Is::kPreserved; });
    for (Block& block : blocks_) block.is = Is::kInFlight;
  }

  // Every frame is in exactly one state, and it is the model's.
  void audit() {
    std::map<Pfn, Is> frames;
    for (const Block& block : blocks_) {
      EXPECT_TRUE(stamped(block)) << "block at " << block.phys.value();
      bool reserved = block.is == Is::kInFlight || block.is == Is::kLeaked;
      for (uint64_t i = 0; i < block.pages(); ++i) {
        Pfn pfn = Pfn::containing(block.phys) + i;
        ASSERT_TRUE(frames.emplace(pfn, block.is).second) << "two owners of frame " << pfn.value();
        ASSERT_EQ(system_.pages().state(pfn),
                  reserved ? mm::FrameState::kReserved : mm::FrameState::kAllocated);
      }
    }
    DmaStats stats = system_.dma().stats();
    EXPECT_EQ(stats.preserved, count(Is::kPreserved));
    EXPECT_EQ(stats.allocations, count(Is::kPreserved) + count(Is::kAllocated));
    EXPECT_EQ(stats.leaked, count(Is::kLeaked));
    EXPECT_EQ(system_.pages().stats().bad_pages, 0u);
  }
  uint64_t count(Is is) {
    return static_cast<uint64_t>(
        std::count_if(blocks_.begin(), blocks_.end(), [is](const Block& block) { return block.is == is; }));
  }

  // In the end nothing may be held that nobody holds.
  void finish() {
    EXPECT_GT(kexecs_, 20u);
    EXPECT_GT(restores_, 200u);
    system_.kexec();
    std::erase_if(blocks_, [](const Block& block) { return block.is != Is::kPreserved; });
    for (Block& block : blocks_) {
      Device device = system_.device(block.traits);
      block.memory = must(restore_allocation(device, block.memory.size, kSleep, Attr::kNone, block.token));
      EXPECT_TRUE(stamped(block));
      ASSERT_TRUE(free_coherent(device, block.memory));
    }
    EXPECT_TRUE(system_.kho().unrestored().empty());
    EXPECT_EQ(system_.dma().stats().allocations, 0u);
    EXPECT_EQ(system_.pages().stats().bad_pages, 0u);
  }

  std::mt19937 random_;
  System system_;
  std::vector<Block> blocks_;
  unsigned kexecs_ = 0;
  unsigned restores_ = 0;
};

TEST(Model, TenThousandRandomOperationsKeepEveryFrameInOneState) {
  log::set_level(log::Level::kError);
  Model(20260505).run(10000);
  log::set_level(log::Level::kInfo);
}

}  // namespace
}  // namespace causeway::dma::testing
