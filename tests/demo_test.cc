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

struct SabotageCase {
  const char* mode;
  const char* named;  // what a problem line must say
  friend void PrintTo(const SabotageCase& self, std::ostream* out) { *out << self.mode; }
};

class DemoSabotage : public ::testing::TestWithParam<SabotageCase> {};

TEST_P(DemoSabotage, FailsAndNamesWhatItSaw) {
  Finished finished =
      run(demo({"--seconds", "1.5", "--updates", "2", "--json", "--sabotage", GetParam().mode}, "128"));
  ASSERT_EQ(finished.status, 1) << finished.out << finished.err;
  json report = json::parse(finished.out);
  EXPECT_EQ(report["ok"], false);
  std::string problems;
  for (const json& problem : report["problems"]) problems += problem.get<std::string>() + "\n";
  EXPECT_THAT(problems, ContainsRegex(GetParam().named));
}

const SabotageCase kSabotageCases[] = {
    {"skip-preserve", "driver error"},
    {"early-free", "overwritten by somebody else|records corrupted"},
    {"short-preserve", "bad pages|overwritten by somebody else"},
    {"wrong-refcount", "bad pages"},
    {"stop-device", "stream reset"},
    {"corrupt", "records corrupted: 1 "},
};
INSTANTIATE_TEST_SUITE_P(All, DemoSabotage, ::testing::ValuesIn(kSabotageCases), [](const auto& param) {
  std::string name = param.param.mode;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Demo, EverySabotageModeHasACase) {
  EXPECT_EQ(cli::sabotage_modes().size(), std::size(kSabotageCases));
  for (const SabotageCase& one : kSabotageCases) EXPECT_NE(cli::find_sabotage(one.mode), nullptr) << one.mode;
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
