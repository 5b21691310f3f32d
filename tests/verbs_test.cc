// up, status, kexec, down: as a user calls them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "cli/launch.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using nlohmann::json;

constexpr const char* kCommandLine = "dma_engine.ring=64 dma_engine.rate=1000 dma_engine.overrun=hold";

// The machine a test brings up lives its own life, so it is ended here whatever happens.
class Verbs : public ::testing::Test {
 protected:
  ~Verbs() override {
    causeway({"down"});
    for (pid_t pid : pids_) ::kill(pid, SIGKILL);
  }

  Finished causeway(std::vector<std::string> words) {
    words.insert(words.begin(), program("causeway"));
    words.insert(words.begin() + 2, {"--name", name_});
    return run(words);
  }
  json causeway_json(std::vector<std::string> words, int want_status = 0) {
    words.push_back("--json");
    Finished finished = causeway(words);
    EXPECT_EQ(finished.status, want_status) << finished.out << finished.err;
    json answer = json::parse(finished.out, nullptr, false);
    EXPECT_FALSE(answer.is_discarded()) << finished.out;
    return answer;
  }
  json up(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"up", "--cmdline", kCommandLine});
    json answer = causeway_json(more);
    if (answer.contains("kernel"))
      for (const char* part : {"machine", "kernel"}) pids_.push_back(answer[part]["pid"]);
    return answer;
  }

  const std::string name_ = cli::private_name();
  std::vector<pid_t> pids_;
};

TEST_F(Verbs, UpStatusKexecDown) {
  json answer = up({"--ram", "64M"});
  EXPECT_EQ(answer["ok"], true);
  EXPECT_EQ(answer["kernel"]["boot"], "cold");
  EXPECT_EQ(answer["kernel"]["generation"], 1);

  json before = causeway_json({"status"});
  EXPECT_EQ(before["kernel"]["command_line"], kCommandLine);
  ASSERT_EQ(before["kernel"]["engines"].size(), 1u);

  json update = causeway_json({"kexec"});
  EXPECT_EQ(update["from"], before["kernel"]["release"]);
  EXPECT_NE(update["to"], update["from"]);
  EXPECT_EQ(update["boot"], "kexec");
  EXPECT_GT(update["completed_during"], 0);

  json back = causeway_json({"kexec"});
  EXPECT_EQ(back["to"], before["kernel"]["release"]) << "the default target alternates";
  json after = causeway_json({"status"});
  EXPECT_EQ(after["kernel"]["generation"], 3);
  EXPECT_EQ(after["kernel"]["pid"], before["kernel"]["pid"]);
  EXPECT_EQ(after["kernel"]["engines"][0]["lost"], 0);

  Finished down = causeway({"down"});
  EXPECT_EQ(down.status, 0) << down.err;
  for (pid_t pid : pids_) EXPECT_TRUE(is_dead(pid)) << pid << " still runs after 'down' said it was done";
  EXPECT_THAT(abstract_sockets(name_), IsEmpty());
}

TEST_F(Verbs, UpDoesOnlyWhatIsMissing) {
  json first = up();
  json second = up();
  EXPECT_EQ(second["machine"]["started"], false);
  EXPECT_EQ(second["kernel"]["started"], false);
  EXPECT_EQ(second["kernel"]["pid"], first["kernel"]["pid"]);

  ::kill(first["kernel"]["pid"].get<pid_t>(), SIGKILL);
  ASSERT_TRUE(eventually([&] { return is_dead(first["kernel"]["pid"].get<pid_t>()); }));
  json third = up();
  EXPECT_EQ(third["machine"]["pid"], first["machine"]["pid"]);
  EXPECT_EQ(third["kernel"]["started"], true);
  EXPECT_EQ(third["kernel"]["boot"], "takeover");
  EXPECT_EQ(causeway_json({"status"})["kernel"]["engines"][0]["lost"], 0);
}

TEST_F(Verbs, UpWithAnotherShapeOfARunningMachineIsRefused) {
  up();
  json answer = causeway_json({"up", "--ram", "128M"}, 1);
  EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr("causeway down --name"));
}

TEST_F(Verbs, UpWithABadCommandLineSaysWhichWordAndLeavesNothing) {
  Finished finished = causeway({"up", "--cmdline", "nonsense=1"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("nonsense"));
  EXPECT_TRUE(eventually([&] { return abstract_sockets(name_).empty(); }));
}

TEST_F(Verbs, NothingUpIsSaidInOneLineThatTellsWhatToDo) {
  for (const char* verb : {"status", "kexec"}) {
    Finished finished = causeway({verb});
    EXPECT_EQ(finished.status, 1) << verb;
    EXPECT_THAT(finished.err, HasSubstr("causeway up --name " + name_));
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  }
  EXPECT_EQ(causeway({"down"}).status, 0) << "what is gone already is fine";
}

TEST_F(Verbs, StatusOfAMachineWithoutAKernelSaysHowToStartOne) {
  json answer = up();
  ::kill(answer["kernel"]["pid"].get<pid_t>(), SIGKILL);
  ASSERT_TRUE(eventually([&] { return is_dead(answer["kernel"]["pid"].get<pid_t>()); }));
  Finished finished = causeway({"status"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("causeway up --name"));
  EXPECT_EQ(causeway({"down"}).status, 0);
}

TEST_F(Verbs, CheckIsPreflightOnly) {
  json before = up();
  json good = causeway_json({"kexec", "--check"});
  EXPECT_EQ(good["ok"], true);
  EXPECT_THAT(good["release"].get<std::string>(), HasSubstr("-next"));
  EXPECT_FALSE(good["build_id"].get<std::string>().empty());
  json bad = causeway_json({"kexec", "--check", "--kernel", "/bin/true"}, 1);
  EXPECT_THAT(bad["error"].get<std::string>(), HasSubstr("/bin/true"));
  EXPECT_EQ(causeway_json({"status"})["kernel"]["generation"], 1);
}

TEST_F(Verbs, KexecIntoAKernelThatDiesSaysHowToStartAgain) {
  up();
  Finished finished = causeway({"kexec", "--kernel", program("dying-kernel")});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("died at boot"));
  EXPECT_THAT(finished.err, HasSubstr("devices still run"));
  EXPECT_THAT(finished.err, HasSubstr("causeway up --name " + name_));
  json again = up();
  EXPECT_EQ(again["kernel"]["boot"], "kexec") << "the dead kernel never touched the orderly handover";
  EXPECT_EQ(causeway_json({"status"})["kernel"]["engines"][0]["lost"], 0);
}

TEST(Usage, MistakesExitWith2AndHelpWith0) {
  const std::string causeway = program("causeway");
  EXPECT_EQ(run({causeway}).status, 2);
  EXPECT_EQ(run({causeway, "nonsense"}).status, 2);
  EXPECT_EQ(run({causeway, "demo", "--updates", "many"}).status, 2);
  EXPECT_EQ(run({causeway, "demo", "--ring", "100"}).status, 2);
  EXPECT_EQ(run({causeway, "demo", "--sabotage", "nonsense"}).status, 2);
  EXPECT_EQ(run({causeway, "up", "--name", "a b"}).status, 2);
  EXPECT_EQ(run({causeway, "up", "--ram", "lots"}).status, 2);
  for (const char* verb : {"demo", "up", "down", "status", "kexec"}) {
    Finished help = run({causeway, verb, "--help"});
    EXPECT_EQ(help.status, 0) << verb;
    EXPECT_THAT(help.out, ContainsRegex(fmt::format("Example: causeway {}", verb)));
  }
}

}  // namespace
}  // namespace causeway::tests
