#include "kernel/boot_params.h"

#include <gtest/gtest.h>

namespace causeway::kernel {
namespace {

TEST(BootParams, EmptyCommandLineIsTheDefaults) {
  auto params = parse_command_line("");
  ASSERT_TRUE(params);
  EXPECT_TRUE(params->kho.enabled);
  EXPECT_EQ(params->dma_engine.ring_log2, 11u);
  EXPECT_EQ(params->dma_engine.sabotage, drivers::Sabotage::kNone);
}

TEST(BootParams, EveryWordIsUnderstood) {
  auto params = parse_command_line(
      "kho=off  kho_scratch=8M,16M,0 kho_format=typed check_pages=off memory_pressure=7 ballast=100 "
      "dma_engine.ring=64 dma_engine.buffer=4096 dma_engine.rate=10 dma_engine.overrun=hold "
      "dma_engine.width=40 dma_engine.recycle=3 sabotage=stop-device");
  ASSERT_TRUE(params);
  EXPECT_FALSE(params->kho.enabled);
  EXPECT_TRUE(params->kho.scratch.absolute);
  EXPECT_EQ(params->kho.scratch.low, MiB(8));
  EXPECT_EQ(params->kho.format, kho::Format::kTyped);
  EXPECT_FALSE(params->check_pages);
  EXPECT_EQ(params->memory_pressure_pages, 7u);
  EXPECT_EQ(params->ballast, 100u);
  EXPECT_EQ(params->dma_engine.ring_log2, 6u);
  EXPECT_EQ(params->dma_engine.buffer_size, 4096u);
  EXPECT_EQ(params->dma_engine.rate, 10u);
  EXPECT_TRUE(params->dma_engine.hold);
  EXPECT_EQ(params->dma_engine.address_width, 40u);
  EXPECT_EQ(params->dma_engine.recycle, 3u);
  EXPECT_EQ(params->dma_engine.sabotage, drivers::Sabotage::kStopDevice);
}

TEST(BootParams, WordsOfTheDmaLayerAndTheDisk) {
  auto params = parse_command_line(
      "swiotlb=1024,4,force coherent_pool=262144 dma_debug=on nvme.file=1048576 nvme.depth=7 nvme.queues=2 nvme.io=8192 "
      "nvme.sgl=off nvme.poll=on sabotage=drop-in-flight");
  ASSERT_TRUE(params);
  EXPECT_EQ(params->dma.swiotlb_size, MiB(2));
  EXPECT_EQ(params->dma.swiotlb_areas, 4u);
  EXPECT_TRUE(params->dma.swiotlb_force);
  EXPECT_EQ(params->dma.atomic_pool_size, KiB(256));
  EXPECT_TRUE(params->dma.debug);
  EXPECT_EQ(params->nvme.file_bytes, MiB(1));
  EXPECT_EQ(params->nvme.queue_depth, 7u);
  EXPECT_EQ(params->nvme.queues, 2u);
  EXPECT_EQ(params->nvme.io_size, KiB(8));
  EXPECT_FALSE(params->nvme.sgl);
  EXPECT_TRUE(params->nvme.poll);
  EXPECT_EQ(params->nvme.sabotage, drivers::nvme::Sabotage::kDropInFlight);
  EXPECT_EQ(parse_command_line("swiotlb=off")->dma.swiotlb_size, 0u);
}

TEST(BootParams, SabotageOfTheDmaLayerGoesThere) {
  EXPECT_TRUE(parse_command_line("sabotage=short-preserve")->dma_faults.short_preserve);
  EXPECT_TRUE(parse_command_line("sabotage=wrong-refcount")->dma_faults.restore_split);
  EXPECT_EQ(parse_command_line("sabotage=early-free")->dma_engine.sabotage, drivers::Sabotage::kEarlyFree);
  EXPECT_EQ(parse_command_line("sabotage=skip-preserve")->dma_engine.sabotage, drivers::Sabotage::kSkipPreserve);
}

class BadCommandLine : public testing::TestWithParam<const char*> {};

TEST_P(BadCommandLine, IsRefusedAndNamed) {
  std::string problem;
  auto params = parse_command_line(GetParam(), &problem);
  ASSERT_FALSE(params);
  EXPECT_EQ(params.error().code, Errno{EINVAL});
  EXPECT_NE(problem.find(GetParam()), std::string::npos) << problem;
}

INSTANTIATE_TEST_SUITE_P(Words, BadCommandLine,
                         testing::Values("quiet", "kho=maybe", "kho_scratch=0,0,0", "kho_format=v5",
                                         "memory_pressure=many", "ballast=", "ballast=1x", "dma_engine.ring=48",
                                         "dma_engine.ring=131072", "dma_engine.buffer=16", "dma_engine.rate=0",
                                         "dma_engine.overrun=maybe", "dma_engine.width=36", "sabotage=sink",
                                         "unknown=1", "swiotlb=many", "swiotlb=512,3", "swiotlb=512,2,maybe", "nvme.depth=0",
                                         "nvme.depth=129", "nvme.queues=9", "nvme.io=1000", "nvme.poll=2"));

}  // namespace
}  // namespace causeway::kernel
