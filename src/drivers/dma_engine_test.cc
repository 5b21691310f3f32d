#include "drivers/dma_engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "base/log.h"
#include "dma/debug/debug.h"
#include "dma/testing/boot.h"
#include "drivers/abi/dma_engine_v1.h"
#include "hw/dma_engine.h"

namespace causeway::drivers {
namespace {

using namespace std::chrono_literals;

constexpr DmaEngineOptions kSmall{
    .ring_log2 = 5, .buffer_size = KiB(20), .rate = 4000, .hold = true, .recycle = 4};

const dma::testing::BootOptions kDebugged{.dma = {.debug = true}};

// One machine with one DMA engine, and the driver of the kernel that runs now.
class DmaEngineTest : public ::testing::Test {
 protected:
  ~DmaEngineTest() override { stop(); }

  platform::PciFunction function() { return must(find_function()); }
  Result<platform::PciFunction> find_function() {
    for (platform::PciFunction& found : system_.platform().pci().scan())
      if (DmaEngine::matches(found)) return found;
    return fail(ENODEV, "no DMA engine");
  }
  Result<std::unique_ptr<DmaEngine>> probe(const DmaEngineOptions& options = kSmall) {
    return DmaEngine::probe({system_.platform(), system_.dma(), system_.kho()}, function(), options);
  }
  // The order the kernel room has: an adopted device is consumed first and preserved afterwards.
  void start(const DmaEngineOptions& options = kSmall) {
    driver_ = must(probe(options));
    system_.platform().interrupts().start();
    if (driver_->adopted()) must(driver_->start());
    must(driver_->preserve());
    must(system_.kho().commit(system_.platform().mailbox(), hw::HandoverKind::kStanding, 1));
    driver_->handover_committed();
    if (!driver_->adopted()) must(driver_->start());
  }
  void stop() {
    if (driver_) system_.platform().interrupts().stop();
    driver_.reset();
    EXPECT_EQ(system_.dma().debug()->errors(), 0u) << system_.dma().debug()->dump();
  }
  // The kernel ends; the next one has no driver yet.
  void kexec() {
    driver_->freeze();
    stop();
    system_.kexec(kDebugged);
  }
  bool advances(uint64_t records = 40) {
    uint64_t want = driver_->stats().records + records;
    for (int i = 0; i < 2000 && driver_->stats().records < want; ++i) std::this_thread::sleep_for(2ms);
    return driver_->stats().records >= want;
  }
  // What the predecessor handed over, to be damaged.
  abi::Handover& handover() {
    kho::Subtree found = must(system_.kho().retrieve_subtree(DmaEngine::subtree_name(function().bdf())));
    return *reinterpret_cast<abi::Handover*>(system_.at(found.phys));
  }
  abi::LiveState& live() { return *reinterpret_cast<abi::LiveState*>(system_.at(PhysAddr(handover().live))); }

  log::Capture quiet_;
  dma::testing::System system_{kDebugged, MiB(64), {machine::DeviceSpec{}}};
  std::unique_ptr<DmaEngine> driver_;
};

TEST_F(DmaEngineTest, StreamsAndVerifies) {
  start();
  ASSERT_TRUE(advances());
  DmaEngineStats stats = driver_->stats();
  EXPECT_FALSE(stats.adopted);
  EXPECT_EQ(stats.bytes, stats.records * kSmall.buffer_size);
  EXPECT_EQ(stats.lost + stats.replayed + stats.corrupted + stats.refused, 0u);
}

TEST_F(DmaEngineTest, WorkQueueFillsAndCopies) {
  start();
  for (int i = 0; i < 100; ++i) must(driver_->self_test());  // more than the ring has entries
  EXPECT_EQ(driver_->stats().work_done, 100u);
}

TEST_F(DmaEngineTest, ANarrowDeviceGetsLowMemory) {
  DmaEngineOptions narrow = kSmall;
  narrow.address_width = 32;
  start(narrow);
  ASSERT_TRUE(advances());
  EXPECT_EQ(driver_->stats().refused, 0u);
}

TEST_F(DmaEngineTest, OptionsOutOfRangeAreRefused) {
  DmaEngineOptions bad = kSmall;
  bad.address_width = 36;
  EXPECT_EQ(error_of(probe(bad)), EINVAL);
  bad = kSmall;
  bad.ring_log2 = 17;
  EXPECT_EQ(error_of(probe(bad)), EINVAL);
}

TEST_F(DmaEngineTest, TheNextDriverGoesOnWhereTheLastStopped) {
  start();
  ASSERT_TRUE(advances());
  kexec();
  start();
  EXPECT_TRUE(driver_->stats().adopted);
  ASSERT_TRUE(advances());
  DmaEngineStats stats = driver_->stats();
  EXPECT_EQ(stats.lost + stats.replayed + stats.corrupted + stats.refused, 0u);
  EXPECT_EQ(stats.device_epoch, stats.expected_epoch);
  EXPECT_GT(stats.completed_before, 0u);
  EXPECT_EQ(stats.recycled, kSmall.recycle);
}

TEST_F(DmaEngineTest, TheRunningConfigurationWinsOverTheNewOptions) {
  start();
  ASSERT_TRUE(advances());
  kexec();
  DmaEngineOptions other = kSmall;
  other.ring_log2 = 8;
  other.buffer_size = KiB(4);
  start(other);
  ASSERT_TRUE(advances());
  EXPECT_EQ(driver_->stats().corrupted, 0u);
}

TEST_F(DmaEngineTest, ShutdownFreesEverything) {
  // The tree keeps its nodes, as in Linux, and the FDT its second page once a subtree has come or gone
  // after the handover was published; nothing else stays.
  auto free_but_for_the_tree = [&] { return system_.free_pages() + system_.kho().stats().tree_pages; };
  uint64_t before = free_but_for_the_tree();
  start();
  ASSERT_TRUE(advances());
  driver_->shutdown();
  stop();
  EXPECT_FALSE(function().bus_master());
  EXPECT_EQ(system_.dma().stats().allocations, 0u);
  EXPECT_EQ(free_but_for_the_tree(), before - 1);
}

// What a predecessor may have left in any state. Each damage must end in a refusal with the device off
// the bus, and nothing freed.
class DamagedHandover : public DmaEngineTest,
                        public testing::WithParamInterface<std::pair<const char*, std::function<void(abi::Handover&)>>> {};

TEST_P(DamagedHandover, IsRefusedAndTheDeviceTakenOffTheBus) {
  start();
  ASSERT_TRUE(advances());
  kexec();
  uint64_t free_before = system_.free_pages();
  GetParam().second(handover());
  auto refused = probe();
  ASSERT_FALSE(refused);
  EXPECT_FALSE(function().bus_master());
  EXPECT_LE(system_.free_pages(), free_before) << "memory of a device that may still write was freed";
}

INSTANTIATE_TEST_SUITE_P(
    Fields, DamagedHandover,
    ::testing::Values(
        std::pair{"compatible", std::function<void(abi::Handover&)>([](auto& h) { h.compatible[9] ^= 1; })},
        std::pair{"live", std::function<void(abi::Handover&)>([](auto& h) { h.live = MiB(5); })},
        std::pair{"live_not_ram", std::function<void(abi::Handover&)>([](auto& h) { h.live = ~uint64_t{0}; })},
        std::pair{"buffers", std::function<void(abi::Handover&)>([](auto& h) { h.buffers += kPageSize * 3000; })},
        std::pair{"no_buffers", std::function<void(abi::Handover&)>([](auto& h) { h.buffers = 0; })},
        std::pair{"buffer_count", std::function<void(abi::Handover&)>([](auto& h) { h.buffer_count *= 2; })},
        std::pair{"buffer_size", std::function<void(abi::Handover&)>([](auto& h) { h.buffer_size = KiB(64); })},
        std::pair{"ring_log2", std::function<void(abi::Handover&)>([](auto& h) { h.ring_log2 = 60; })},
        std::pair{"address_width", std::function<void(abi::Handover&)>([](auto& h) { h.address_width = 40; })},
        std::pair{"vector", std::function<void(abi::Handover&)>([](auto& h) { h.vector = 3; })},
        std::pair{"stream_ring", std::function<void(abi::Handover&)>([](auto& h) { h.stream_ring = 0; })},
        std::pair{"foreign_token",
                  std::function<void(abi::Handover&)>([](auto& h) { h.stream_ring = h.work_ring; })},
        std::pair{"work_buffer", std::function<void(abi::Handover&)>([](auto& h) { h.work_buffer[1] = 64; })}),
    [](const auto& damage) { return std::string(damage.param.first); });

TEST_F(DmaEngineTest, ADescriptorThatLeadsElsewhereIsRefused) {
  start();
  ASSERT_TRUE(advances());
  kexec();
  // Found through the device's own register, as the device finds it.
  uint64_t ring = function().bar0().read64(hw::dma_engine::queue_base(hw::dma_engine::kStreamQueue) +
                                           hw::dma_engine::kRingBase);
  auto* descriptor = reinterpret_cast<hw::dma_engine::Descriptor*>(system_.at(PhysAddr(ring)));
  descriptor[7].destination += kPageSize;
  auto refused = probe();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errno{EILSEQ});
  EXPECT_FALSE(function().bus_master());
}

TEST_F(DmaEngineTest, SkippingOneRecordIsCountedAsLost) {
  start();
  ASSERT_TRUE(advances());
  kexec();
  abi::LiveState& state = live();
  state.slot[state.current.load()].next_sequence -= 1;  // the next one expected never comes
  start();
  ASSERT_TRUE(advances());
  EXPECT_EQ(driver_->stats().lost, 1u);
}

}  // namespace
}  // namespace causeway::drivers
