#include "cli/demo.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/demo_report.h"
#include "cli/launch.h"
#include "cli/programs.h"

namespace causeway::cli {
namespace {

TEST(DemoCommandLine, IsEmptyByDefault) { EXPECT_EQ(demo_command_line({}), ""); }

TEST(DemoCommandLine, CarriesRateRingAndSabotage) {
  DemoOptions options;
  options.rate = 1000;
  options.ring = 256;
  options.sabotage = find_sabotage("stream", "early-free");
  EXPECT_EQ(demo_command_line(options), "dma_engine.rate=1000 dma_engine.ring=256 sabotage=early-free");
}

TEST(DemoCommandLine, LeavesOutWhatTheMachineDoes) {
  DemoOptions options;
  options.sabotage = find_sabotage("stream", "corrupt");
  EXPECT_EQ(demo_command_line(options), "");
}

TEST(DemoCommandLine, WithAnIommuOneMoreDeviceIsNotHandedOver) {
  DemoOptions options;
  EXPECT_TRUE(demo_devices(options, "").empty());
  options.iommu = IommuMode::kLegacy;
  options.sabotage = find_sabotage("stream", "te-off");
  EXPECT_EQ(demo_command_line(options), "no_handover=00:1e.0 sabotage=te-off");
  EXPECT_EQ(demo_devices(options, ""), (std::vector<std::string>{"dma", "dma@00:1e.0"}));
  options.workload = &nvme_workload();
  ASSERT_EQ(demo_devices(options, "/disk").size(), 2u);
  EXPECT_TRUE(demo_devices(options, "/disk")[0].starts_with("nvme,file=/disk,"));
}

TEST(Sabotage, HelpNamesTheModesOfEveryWorkload) {
  for (const SabotageMode& mode : sabotage_modes())
    EXPECT_NE(sabotage_help().find(mode.name), std::string::npos) << mode.name;
  EXPECT_EQ(find_sabotage("stream", "none"), nullptr);
  EXPECT_EQ(find_sabotage("stream", "drop-in-flight"), nullptr);
  EXPECT_NE(find_sabotage("nvme", "drop-in-flight"), nullptr);
  for (const char* workload : {"stream", "nvme"})
    for (const char* mode : {"drop-context", "reuse-did", "te-off", "skip-flush", "stale-restore"}) {
      ASSERT_NE(find_sabotage(workload, mode), nullptr) << mode;
      EXPECT_TRUE(find_sabotage(workload, mode)->needs_iommu());
    }
  EXPECT_FALSE(find_sabotage("stream", "early-free")->needs_iommu());
}

TEST(Programs, UpdateAlternatesBetweenTheTwoKernels) {
  EXPECT_EQ(other_kernel("/usr/bin/causeway-kernel"), "causeway-kernel-next");
  EXPECT_EQ(other_kernel("/usr/bin/causeway-kernel-next"), "causeway-kernel");
  EXPECT_EQ(other_kernel("/home/me/my-kernel"), "causeway-kernel-next");
  EXPECT_EQ(other_kernel(""), "causeway-kernel-next");
}

TEST(Programs, OneThatIsMissingIsEnoent) {
  auto path = program_path("no-such-program");
  ASSERT_FALSE(path.has_value());
  EXPECT_EQ(path.error().code, Errno{ENOENT});
}

TEST(Programs, RelativePathBecomesAbsolute) {
  EXPECT_EQ(absolute_path("/a/../b"), "/b");
  EXPECT_TRUE(absolute_path("b").ends_with("/b"));
  EXPECT_TRUE(absolute_path("b").starts_with("/"));
}

TEST(Launch, SizesAreDigitsAndASuffix) {
  for (const char* good : {"1", "256M", "4g", "1T", "64K"}) EXPECT_TRUE(is_size(good)) << good;
  for (const char* bad : {"", "M", "12MB", "1.5G", "-1", "1 G"}) EXPECT_FALSE(is_size(bad)) << bad;
}

TEST(Launch, PrivateNamesDiffer) { EXPECT_NE(private_name(), private_name()); }

TEST(DemoReport, RunThatNeverStartedIsReportedToo) {
  DemoRun run;
  run.failures = {"the machine ended at start"};
  nlohmann::json json = demo_json(run, run.failures);
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["updates"].size(), 0u);
  EXPECT_EQ(json["problems"][0], "the machine ended at start");
  EXPECT_NE(demo_text(run, run.failures).find("problem: the machine ended at start\n"), std::string::npos);
}

TEST(DemoReport, PagesLeakedAddUpOverGenerations) {
  DemoRun run;
  Snapshot first, second;
  first.status.dma.leaked_pages = 3;
  first.status.pressure_rounds = 10;
  second.status.pages.leaked_pages = 4;
  second.status.pressure_rounds = 5;
  run.first = first;
  run.updates.push_back({first, second, second});
  run.last = run.later = second;
  nlohmann::json json = demo_json(run, {});
  EXPECT_EQ(json["pages_leaked"], 7);
  EXPECT_EQ(json["pressure_rounds"], 15);
  EXPECT_EQ(json["updates"][0]["pages_leaked"], 4);
  EXPECT_EQ(json["ok"], true);
}

}  // namespace
}  // namespace causeway::cli
