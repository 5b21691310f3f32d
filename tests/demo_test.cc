// The demo, whole: that it holds, that it can fail, and that it leaves nothing behind.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "cli/sabotage.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::ContainsRegex;
using ::testing::IsEmpty;
using nlohmann::json;

// At 1000 records a second: a second of buffers, enough for a debug build that shares two CPUs with
// other tests, unless the test is to see each buffer written to often.
std::vector<std::string> demo(std::vector<std::string> words, const char* ring = "1024") {
  words.insert(words.begin(), {program("causeway"), "demo"});
  words.insert(words.end(), {"--rate", "1000", "--ring", ring});
  return words;
}

TEST(Demo, HoldsOverThreeUpdates) {
  Finished finished = run(demo({"--seconds", "3", "--updates", "3", "--json"}));
  ASSERT_EQ(finished.status, 0) << finished.out << finished.err;
  json report = json::parse(finished.out);
  EXPECT_EQ(report["ok"], true);
  EXPECT_THAT(report["problems"], IsEmpty());
  for (const char* none : {"lost", "corrupted", "refused", "replayed", "dropped", "pages_leaked", "stream_resets"})
    EXPECT_EQ(report[none], 0) << none;
  EXPECT_GT(report["records"], 1000);
  EXPECT_GT(report["bytes_verified"], 1000 * 20000);
  ASSERT_EQ(report["updates"].size(), 3u);
  for (const json& update : report["updates"]) {
    EXPECT_NE(update["from"], update["to"]);
    EXPECT_NE(update["from_build_id"], update["to_build_id"]);
    EXPECT_GT(update["completed_during"], 0);
    EXPECT_GT(update["blackout_ms"], 0.0);
    EXPECT_GT(update["pages_restored"], 1024 * 8);
  }
}

TEST(Demo, TableNamesTheVerdict) {
  Finished finished = run(demo({"--seconds", "1", "--updates", "1"}));
  EXPECT_EQ(finished.status, 0) << finished.out << finished.err;
  EXPECT_THAT(finished.out, ContainsRegex("lost 0, corrupted 0, refused 0, replayed 0, dropped 0"));
  EXPECT_THAT(finished.out, ContainsRegex("ok: 1 live update, "));
}

// A file of 8 MiB, 32 commands at a time, and at the end sha256sum of the disk.
TEST(Demo, NvmeHoldsOverThreeUpdates) {
  Finished finished =
      run({program("causeway"), "demo", "--workload", "nvme", "--seconds", "3", "--updates", "3", "--json"});
  ASSERT_EQ(finished.status, 0) << finished.out << finished.err;
  json report = json::parse(finished.out);
  EXPECT_EQ(report["ok"], true);
  EXPECT_THAT(report["problems"], IsEmpty());
  for (const char* none : {"lost", "corrupted", "refused", "duplicated", "pages_leaked", "controller_resets"})
    EXPECT_EQ(report[none], 0) << none;
  EXPECT_GT(report["reads"], 512);
  EXPECT_GT(report["writes"], 512);
  EXPECT_EQ(report["disk"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(report["disk"]["sha256"], report["disk"]["expected"]);
  ASSERT_EQ(report["updates"].size(), 3u);
  uint64_t in_flight = 0;
  for (const json& update : report["updates"]) in_flight += update["in_flight_at_takeover"].get<uint64_t>();
  EXPECT_GT(in_flight, 32u);
}

// Addresses are translated throughout; one more device is not handed over and refused after an update.
struct IommuCase {
  const char* workload;
  const char* mode;
  friend void PrintTo(const IommuCase& self, std::ostream* out) { *out << self.workload << ' ' << self.mode; }
};
class DemoIommu : public ::testing::TestWithParam<IommuCase> {};

TEST_P(DemoIommu, HoldsOverThreeUpdates) {
  Finished finished = run(demo({"--seconds", "3", "--updates", "3", "--json", "--workload", GetParam().workload,
                                "--iommu", GetParam().mode}));
  ASSERT_EQ(finished.status, 0) << finished.out << finished.err;
  json report = json::parse(finished.out);
  EXPECT_EQ(report["ok"], true);
  EXPECT_THAT(report["problems"], IsEmpty());
  const json& iommu = report["iommu"];
  EXPECT_EQ(iommu["mode"], GetParam().mode);
  for (const char* none : {"faults", "reports", "stale_translation", "domain_id_shared", "translation_off_live",
                           "context_dropped", "translation_changed", "te_off_transitions", "damage"})
    EXPECT_EQ(iommu[none], 0) << none;
  ASSERT_EQ(iommu["generations"].size(), 4u);
  for (const json& generation : iommu["generations"]) EXPECT_GT(generation["translations"], 0);
  EXPECT_GE(iommu["restored_devices"], 1);
}
INSTANTIATE_TEST_SUITE_P(All, DemoIommu,
                         ::testing::Values(IommuCase{"stream", "legacy"}, IommuCase{"stream", "scalable"},
                                           IommuCase{"nvme", "legacy"}, IommuCase{"nvme", "scalable"}),
                         [](const auto& param) {
                           return std::string(param.param.workload) + "_" + param.param.mode;
                         });

TEST(Demo, SabotageOfTheIommuWithoutOneIsAUsageError) {
  Finished finished = run(demo({"--sabotage", "te-off"}));
  EXPECT_EQ(finished.status, 2);
  EXPECT_THAT(finished.err, ContainsRegex("--iommu"));
  EXPECT_EQ(run(demo({"--iommu", "sometimes"})).status, 2);
}

struct SabotageCase {
  const char* workload;
  const char* mode;
  const char* named;  // what a problem line must say
  const char* iommu = "off";
  friend void PrintTo(const SabotageCase& self, std::ostream* out) { *out << self.workload << ' ' << self.mode << ' ' << self.iommu; }
};

class DemoSabotage : public ::testing::TestWithParam<SabotageCase> {};

TEST_P(DemoSabotage, FailsAndNamesWhatItSaw) {
  Finished finished = run(demo({"--seconds", "1.5", "--updates", "2", "--json", "--workload", GetParam().workload,
                                "--iommu", GetParam().iommu, "--sabotage", GetParam().mode}, "128"));
  ASSERT_EQ(finished.status, 1) << finished.out << finished.err;
  json report = json::parse(finished.out);
  EXPECT_EQ(report["ok"], false);
  std::string problems;
  for (const json& problem : report["problems"]) problems += problem.get<std::string>() + "\n";
  EXPECT_THAT(problems, ContainsRegex(GetParam().named));
}

const SabotageCase kSabotageCases[] = {
    {"stream", "skip-preserve", "driver error"},
    {"stream", "early-free", "overwritten by somebody else|records corrupted"},
    {"stream", "short-preserve", "bad pages|overwritten by somebody else"},
    {"stream", "wrong-refcount", "bad pages"},
    {"stream", "stop-device", "device reset"},
    {"stream", "corrupt", "records corrupted: 1 "},
    {"nvme", "skip-preserve", "driver error"},
    {"nvme", "early-free", "overwritten by somebody else|blocks corrupted"},
    {"nvme", "stop-device", "device reset"},
    {"nvme", "drop-in-flight", "commands lost: "},
    {"nvme", "replay-in-flight", "commands completed twice: "},
    {"nvme", "corrupt", "blocks corrupted: 1 "},
    {"nvme", "lose-completion", "commands lost: 1 "},
    {"nvme", "repeat-completion", "commands completed twice: 1 "},
    {"stream", "drop-context", "damage|context_dropped", "scalable"},
    {"stream", "reuse-did", "domain_id_shared", "scalable"},
    {"stream", "te-off", "translation_off_live|te_off_transitions", "scalable"},
    {"stream", "skip-flush", "stale_translation", "scalable"},
    {"stream", "stale-restore", "stale_translation|translation_changed|corrupted", "scalable"},
    {"stream", "drop-context", "damage|context_dropped", "legacy"},
    {"nvme", "te-off", "translation_off_live|te_off_transitions", "legacy"},
    {"nvme", "reuse-did", "domain_id_shared", "legacy"},
};
INSTANTIATE_TEST_SUITE_P(All, DemoSabotage, ::testing::ValuesIn(kSabotageCases), [](const auto& param) {
  std::string name = std::string(param.param.workload) + "_" + param.param.mode + "_" + param.param.iommu;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Demo, EverySabotageModeHasACase) {
  for (const cli::SabotageMode& mode : cli::sabotage_modes())
    EXPECT_TRUE(std::any_of(std::begin(kSabotageCases), std::end(kSabotageCases), [&](const SabotageCase& one) {
      return std::string_view(one.mode) == mode.name &&
             (mode.needs_iommu() || std::string_view(one.workload) == mode.workload);
    })) << mode.workload << " " << mode.name;
  for (const SabotageCase& one : kSabotageCases) EXPECT_NE(cli::find_sabotage(one.workload, one.mode), nullptr) << one.mode;
}

TEST(Demo, SabotageHelpListsTheModes) {
  Finished finished = run({program("causeway"), "demo", "--sabotage", "help"});
  EXPECT_EQ(finished.status, 0);
  for (const cli::SabotageMode& mode : cli::sabotage_modes())
    EXPECT_NE(finished.out.find(mode.name), std::string::npos) << mode.name;
}

TEST(Demo, MachineThatCannotHaveThisRamFailsInOneLine) {
  Finished finished = run({program("causeway"), "demo", "--ram", "1M", "--seconds", "1", "--updates", "0"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.out, ContainsRegex("problem: the machine ended at start .exit status [12].: "));
}

// What a demo had started, and whether it is all gone.
class DemoEnd : public ::testing::TestWithParam<int> {};

TEST_P(DemoEnd, LeavesNoProcessNoSocketAndNoFile) {
  TemporaryDirectory directory;
  pid_t pid = start_in_group(demo({"--seconds", "60", "--updates", "100"}), directory.path());
  const std::string sockets = fmt::format("/private-{}-", pid);
  std::vector<pid_t> children;
  ASSERT_TRUE(eventually([&] {
    children = children_of(pid);
    // Machine and kernel, both listening.
    return children.size() == 2 && abstract_sockets(sockets + "").size() >= 2;
  })) << children.size();
  sleep_ms(200);  // anywhere in its work

  ::kill(GetParam() == SIGKILL ? pid : -pid, GetParam());
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), GetParam());
  for (pid_t child : children) EXPECT_TRUE(eventually([&] { return is_dead(child); })) << child;
  EXPECT_TRUE(eventually([&] { return abstract_sockets(sockets).empty(); }));
  EXPECT_TRUE(directory.empty());
}
INSTANTIATE_TEST_SUITE_P(All, DemoEnd, ::testing::Values(SIGINT, SIGTERM, SIGKILL),
                         [](const auto& param) { return std::string("SIG") + sigabbrev_np(param.param); });

}  // namespace
}  // namespace causeway::tests
