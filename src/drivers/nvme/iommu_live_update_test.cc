// The controller behind an IOMMU whose domain is handed over: what is in flight reaches its memory all the time.
#include <gtest/gtest.h>

#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "drivers/abi/nvme_v1.h"
#include "drivers/nvme/testing/nvme_system.h"
#include "iommu/testing/domain_translation.h"

namespace causeway::drivers::nvme {
namespace {

using iommu::DomainType;
using testing::NvmeSystem;

constexpr NvmeOptions kBusy{.queues = 2, .queue_depth = 32, .io_size = KiB(12), .file_bytes = KiB(12) * 256};
constexpr machine::NvmeOptions kDisk{.size = MiB(16), .queues = 2, .cmb = 0, .shuffle = true, .latency_us = 300};
// Every command is still in flight when the next kernel takes over: without a shuffle the latency is the least, not the mean.
constexpr machine::NvmeOptions kSlowDisk{.size = MiB(16), .queues = 2, .cmb = 0, .latency_us = 300'000};

struct Bench {
  explicit Bench(DomainType type = DomainType::kDma, const machine::NvmeOptions& disk = kDisk)
      : domain({.type = type}), translation(domain), system(disk, {}, &translation, &domain) {}

  abi::Handover& handover() {
    kho::Subtree found = must(system.system().kho().retrieve_subtree(Nvme::subtree_name(system.function().bdf())));
    return *reinterpret_cast<abi::Handover*>(system.at(found.phys));
  }
  abi::MappingRecord& record(unsigned queue, unsigned index) {
    const uint64_t buffers = uint64_t{handover().queues} * handover().depth;
    const auto* behind = reinterpret_cast<const uint64_t*>(&handover() + 1);
    return reinterpret_cast<abi::MappingRecord*>(system.at(PhysAddr(behind[buffers + queue])))[index];
  }
  abi::LiveState& live(unsigned queue) {
    return *reinterpret_cast<abi::LiveState*>(system.at(PhysAddr(handover().queue[queue].live)));
  }
  void expect_clean() {
    NvmeStats stats = system.driver().stats();
    EXPECT_EQ(stats.lost, 0u);
    EXPECT_EQ(stats.duplicated, 0u);
    EXPECT_EQ(stats.corrupted, 0u);
    EXPECT_EQ(stats.refused, 0u);
    EXPECT_EQ(stats.device_epoch, stats.expected_epoch);
  }
  // Nothing is left of all the kernels.
  void expect_empty_after_shutdown() {
    must(system.driver().drain());
    system.driver().shutdown();
    system.iommu().drain();
    EXPECT_EQ(domain.counts().mapped_bytes, 0u);
    EXPECT_EQ(system.iommu().stats().mapped, 0u);
  }

  log::Capture quiet;
  iommu::MapDomain domain;
  iommu::testing::DomainTranslation translation;
  NvmeSystem system;
};

TEST(NvmeIommuLiveUpdate, TwentyUpdatesLoseNothing) {
  for (DomainType type : {DomainType::kDma, DomainType::kDmaFq}) {
    Bench t(type);
    must(t.system.start(kBusy));
    EXPECT_TRUE(t.system.driver().may_start_before_commit());
    for (int update = 0; update < 20; ++update) {
      ASSERT_TRUE(t.system.advances(80));
      if (update % 2 == 0) {
        t.system.kexec();
      } else {
        t.system.crash();
      }
      must(t.system.start(kBusy));
      NvmeStats stats = t.system.driver().stats();
      ASSERT_TRUE(stats.adopted);
      EXPECT_TRUE(stats.handed_over);
      EXPECT_FALSE(t.system.driver().may_start_before_commit());
      EXPECT_GT(stats.in_flight_at_takeover, 0u);
      EXPECT_EQ(t.system.released, 0u) << "everything was claimed";
    }
    ASSERT_TRUE(t.system.wait_until([&] { return t.system.driver().stats().passes >= 2; }));
    t.expect_clean();
    EXPECT_GT(t.system.driver().stats().verified, 0u);
    t.expect_empty_after_shutdown();
  }
}

// A kernel that dies while it takes over, wherever it is: the next one finds everything in flight still mapped.
TEST(NvmeIommuLiveUpdate, KilledAtAnyPointOfATakeoverNothingIsLost) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  struct Killed {};
  NvmeOptions polled = kBusy;
  polled.poll = true;  // completions are taken by start() itself, and by no thread before
  Bench t;
  must(t.system.start(polled));
  unsigned deaths = 0;
  for (const point::Point* step : point::list()) {
    const std::string_view name = step->name;
    if (step->kind != point::Kind::kObserve) continue;
    if (!name.starts_with("drivers.nvme.") && !name.starts_with("dma.restore.") && !name.starts_with("dma.iommu.") &&
        !name.starts_with("dma.preserve."))
      continue;
    SCOPED_TRACE(name);
    ASSERT_TRUE(t.system.advances(40));
    t.system.crash();
    const std::thread::id here = std::this_thread::get_id();
    must(point::on_hit(name, [here]() -> Status {
      if (std::this_thread::get_id() == here) throw Killed{};
      return {};
    }));
    try {
      must(t.system.start(polled));
    } catch (const Killed&) {
      ++deaths;
    }
    point::disarm_all();
    t.system.crash();
    must(t.system.start(polled));
    ASSERT_TRUE(t.system.driver().adopted());
    t.expect_clean();
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GE(deaths, 15u);
  ASSERT_TRUE(t.system.advances(200));
  t.expect_clean();
  t.expect_empty_after_shutdown();
}

// Nobody claims what is in flight: it is unmapped under the controller, whose commands then fail.
TEST(NvmeIommuLiveUpdate, MappingsThatNobodyClaimedFaultUnderTheController) {
  Bench t(DomainType::kDma, kSlowDisk);
  must(t.system.start(kBusy));
  ASSERT_TRUE(t.system.wait_until([&] { return t.system.driver().stats().device_in_flight == 64; }));
  t.system.crash();
  NvmeOptions careless = kBusy;
  careless.sabotage = Sabotage::kSkipClaim;
  must(t.system.start(careless));
  EXPECT_EQ(t.system.released, 64 * KiB(12));
  EXPECT_TRUE(t.system.wait_until([&] { return t.system.driver().stats().refused > 0; }));
}

// Requests with gaps are mapped piece by piece; each is claimed.
TEST(NvmeIommuLiveUpdate, PiecesOfACallersCommandAreClaimedOneByOne) {
  Bench t(DomainType::kDma, kSlowDisk);
  must(t.system.start({}));
  const uint64_t idle = t.domain.counts().mapped_bytes;
  PhysSegment memory = t.system.memory(KiB(32));
  std::vector<PhysSegment> gaps;
  for (uint64_t i = 0; i < 4; ++i) gaps.push_back({memory.phys + (i * KiB(8) + 512), KiB(2)});
  must(t.system.driver().submit({.opcode = hw::nvme::opcode::kWrite,
                                 .lba = 0,
                                 .blocks = static_cast<uint32_t>(KiB(8) / t.system.driver().info().block_size),
                                 .data = gaps},
                                [](Result<uint32_t>) {}));
  EXPECT_EQ(t.domain.counts().mapped_bytes, idle + 4 * kPageSize);
  t.system.crash();
  must(t.system.start({}));
  EXPECT_EQ(t.system.driver().stats().in_flight_at_takeover, 1u);
  EXPECT_EQ(t.system.released, 0u);
  EXPECT_TRUE(t.system.wait_until([&] { return t.system.driver().stats().writes == 1; }));
  EXPECT_TRUE(t.system.wait_until([&] { return t.domain.counts().mapped_bytes == idle; }));
  t.expect_clean();
}

TEST(NvmeIommuLiveUpdate, WhatDoesNotFitIsRefusedAndTheControllerTakenOffTheBus) {
  struct Case {
    const char* what;
    std::function<void(Bench&, abi::MappingRecord&)> damage;
  };
  const Case cases[] = {
      {"another address", [](Bench&, abi::MappingRecord& record) { record.piece[0].address += MiB(64); }},
      {"one inside", [](Bench&, abi::MappingRecord& record) { record.piece[0].address += kPageSize; }},
      {"too long", [](Bench&, abi::MappingRecord& record) { record.piece[0].length += MiB(1); }},
      {"too many pieces", [](Bench&, abi::MappingRecord& record) { record.count = 256; }},
      {"two pieces in one", [](Bench&, abi::MappingRecord& record) { record.count = 2; }},
      {"an unknown flag", [](Bench&, abi::MappingRecord& record) { record.flags |= 0x80; }},
      {"no mappings", [](Bench& t, abi::MappingRecord&) { t.handover().flags &= ~abi::kIommu; }},
      {"lost mappings",
       [](Bench& t, abi::MappingRecord&) {
         auto* behind = reinterpret_cast<uint64_t*>(&t.handover() + 1);
         behind[uint64_t{t.handover().queues} * t.handover().depth] = MiB(5);
       }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    Bench t(DomainType::kDma, kSlowDisk);
    must(t.system.start(kBusy));
    ASSERT_TRUE(t.system.wait_until([&] { return t.system.driver().stats().device_in_flight == 64; }));
    t.system.crash();
    const abi::LiveState& live = t.live(0);
    uint32_t index = 0;
    while (live.slot[live.current].command[index].state == abi::CommandState::kIdle) ++index;
    one.damage(t, t.record(0, index));
    EXPECT_FALSE(t.system.probe(kBusy));
    EXPECT_FALSE(t.system.function().bus_master());
  }
}

TEST(NvmeIommuLiveUpdate, WithoutItsDomainARunningControllerIsRefused) {
  Bench t;
  must(t.system.start(kBusy));
  ASSERT_TRUE(t.system.advances(40));
  t.system.kexec();
  DriverContext context{t.system.system().platform(), t.system.system().dma(), t.system.system().kho()};
  EXPECT_EQ(error_of(Nvme::probe(context, t.system.function(), kBusy)), EOPNOTSUPP);
  EXPECT_FALSE(t.system.function().bus_master());

  iommu::MapDomain fresh;
  auto mappings = must(dma::IommuDma::create(t.system.system().dma(), fresh, {}));
  context.iommu = mappings.get();
  EXPECT_EQ(error_of(Nvme::probe(context, t.system.function(), kBusy)), EOPNOTSUPP);
}

}  // namespace
}  // namespace causeway::drivers::nvme
