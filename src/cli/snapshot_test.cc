#include "cli/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace causeway::cli {
namespace {

using ::testing::ElementsAre;

// Every number differs from every other one, so that no two fields can be mixed up.
kernel::KernelStatus distinct_status() {
  kernel::KernelStatus status;
  uint64_t next = 100;
  auto set = [&next](auto& field) { field = static_cast<std::remove_reference_t<decltype(field)>>(next++); };
  status.release = "1.2.3";
  status.command_line = "kho=on dma_engine.rate=10";
  status.boot = kernel::BootKind::kTakeover;
  set(status.generation), set(status.boot_ns), set(status.commit_ns);
  kho::KhoStats& kho = status.kho;
  kho.kho_boot = true;
  kho.previous_release = "1.2.2";
  set(kho.kexec_count), set(kho.incoming_blocks), set(kho.incoming_pages), set(kho.restored_pages);
  set(kho.unrestored_by_design), set(kho.unrestored_pages), set(kho.failed_restores);
  set(kho.preserved_blocks), set(kho.preserved_pages), set(kho.tree_pages);
  for (auto& zone : status.pages.zone) set(zone.managed_pages), set(zone.free_pages);
  set(status.pages.bad_pages), set(status.pages.leaked_pages);
  status.pages.tainted = true;
  set(status.dma.allocations), set(status.dma.preserved), set(status.dma.restored), set(status.dma.leaked);
  set(status.dma.leaked_pages), set(status.dma.debug_errors), set(status.pressure_rounds), set(status.pressure_damaged);
  for (const char* bdf : {"00:01.0", "00:1f.7"}) {
    auto set_field = [&](const char*, auto& field) { set(field); };
    drivers::DmaEngineStats e;
    for_each_field(e, set_field);
    drivers::nvme::NvmeStats n;
    for_each_field(n, set_field);
    status.nvmes.emplace_back(bdf, n);
    status.engines.emplace_back(bdf, e);
  }
  status.driver_errors = {"00:02.0: one", "00:03.0: two = 2"};
  status.problems = {"three"};
  return status;
}

server::Reply reply_of(const kernel::KernelStatus& status) { return {server::status_lines(status)}; }

TEST(Snapshot, IsTheInverseOfTheKernelsStatusLines) {
  kernel::KernelStatus status = distinct_status();
  Snapshot snapshot = parse_snapshot(reply_of(status));
  EXPECT_EQ(snapshot.pid, ::getpid());
  // What is parsed and written again is the same: no field was forgotten, none is in another's place.
  EXPECT_EQ(server::status_lines(snapshot.status), server::status_lines(status));
}

TEST(Snapshot, MissingLinesAreZero) {
  Snapshot snapshot = parse_snapshot({{{"ok", "1"}}});
  EXPECT_EQ(snapshot.status.generation, 0u);
  EXPECT_TRUE(snapshot.status.engines.empty());
  EXPECT_FALSE(snapshot.working());
}

TEST(Snapshot, AnEngineThatIsNotHandedOverDoesNotCount) {
  kernel::KernelStatus status = distinct_status();
  status.command_line = "dma_engine.rate=10 no_handover=00:1f.7 sabotage=00:01.0";
  Snapshot snapshot = parse_snapshot(reply_of(status));
  ASSERT_EQ(snapshot.status.engines.size(), 1u);
  EXPECT_EQ(snapshot.status.engines[0].first, "00:01.0");
  ASSERT_EQ(snapshot.ephemeral.size(), 1u);
  EXPECT_EQ(snapshot.ephemeral[0].first, "00:1f.7");
  EXPECT_EQ(snapshot.total().records, snapshot.status.engines[0].second.records);
}

TEST(Snapshot, TotalAddsCountsAndTakesTheWorstOfTimes) {
  Snapshot snapshot = parse_snapshot(reply_of(distinct_status()));
  const auto& first = snapshot.status.engines[0].second;
  const auto& second = snapshot.status.engines[1].second;
  drivers::DmaEngineStats total = snapshot.total();
  EXPECT_EQ(total.records, first.records + second.records);
  EXPECT_EQ(total.completed_during, first.completed_during + second.completed_during);
  EXPECT_EQ(total.blackout_ns, second.blackout_ns);
  EXPECT_EQ(total.device_max_gap_ns, second.device_max_gap_ns);
  EXPECT_EQ(total.device_max_late_ns, second.device_max_late_ns);
  EXPECT_TRUE(total.adopted);
}

TEST(Snapshot, WorksOnlyWhenEveryEngineHasWorked) {
  Snapshot snapshot = parse_snapshot(reply_of(distinct_status()));
  EXPECT_TRUE(snapshot.working());
  snapshot.status.engines[1].second.first_work_ns = 0;
  EXPECT_FALSE(snapshot.working());
}

TEST(Snapshot, UnrestoredPagesLeaveOutThoseByDesign) {
  Snapshot snapshot;
  snapshot.status.kho.unrestored_pages = 5;
  snapshot.status.kho.unrestored_by_design = 2;
  EXPECT_EQ(snapshot.unrestored_pages(), 3u);
  snapshot.status.kho.unrestored_by_design = 9;
  EXPECT_EQ(snapshot.unrestored_pages(), 0u);
}

TEST(StatusJson, NestsNamesAndGathersEnginesAndRepeatedLines) {
  nlohmann::json json = status_json(reply_of(distinct_status()));
  EXPECT_EQ(json["release"], "1.2.3");
  EXPECT_EQ(json["boot"], "takeover");
  EXPECT_TRUE(json["kho"]["incoming_pages"].is_number_unsigned());
  EXPECT_TRUE(json["mm"]["dma32"]["free"].is_number_unsigned());
  ASSERT_EQ(json["engines"].size(), 2u);
  EXPECT_EQ(json["engines"][1]["bdf"], "00:1f.7");
  EXPECT_TRUE(json["engines"][1]["records"].is_number_unsigned());
  EXPECT_THAT(json["driver_errors"], ElementsAre("00:02.0: one", "00:03.0: two = 2"));
  EXPECT_THAT(json["problems"], ElementsAre("three"));
  EXPECT_FALSE(json.contains("ok"));
}

TEST(StatusJson, ReleaseThatLooksLikeANumberStaysText) {
  EXPECT_EQ(status_json({{{"release", "7"}}})["release"], "7");
}

}  // namespace
}  // namespace causeway::cli
