// causeway dept as a user calls it, on programs whose deadlocks are known (tests/dept/corpus).
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using nlohmann::json;
using Words = std::vector<std::string>;

std::string text_of(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string corpus(const std::string& name) { return program("dept-corpus/" + name); }

class DeptVerb : public ::testing::Test {
 protected:
  static Words line(Words options, const Words& command) {
    options.insert(options.begin(), {program("causeway"), "dept"});
    if (!command.empty()) options.push_back("--");
    options.insert(options.end(), command.begin(), command.end());
    return options;
  }
  static Finished dept(const Words& options, const Words& command) { return run(line(options, command)); }
  static Finished shell(const std::string& script) { return run({"/bin/sh", "-c", script}); }
  std::string file(const std::string& name) const { return directory_.path() + "/" + name; }
  json outcome(Words options, const Words& command, int want_status = 0) const {
    options.insert(options.end(), {"--json-file", file("out.json")});
    const Finished finished = dept(options, command);
    EXPECT_EQ(finished.status, want_status) << finished.err;
    return json::parse(text_of(file("out.json")), nullptr, false);
  }

  TemporaryDirectory directory_;
};

TEST_F(DeptVerb, TheStatusIsTheProgramsUnlessAnotherIsAskedFor) {
  EXPECT_EQ(dept({}, {"/bin/true"}).status, 0);
  EXPECT_EQ(dept({}, {"/bin/sh", "-c", "exit 3"}).status, 3);
  EXPECT_EQ(dept({}, {"/bin/sh", "-c", "kill -TERM $$"}).status, 128 + SIGTERM);
  EXPECT_EQ(dept({"--exit-code", "42"}, {corpus("M01")}).status, 42);
  EXPECT_EQ(dept({"--exit-code", "42"}, {corpus("M03b")}).status, 0);
  EXPECT_EQ(dept({"--exit-code", "42"}, {"/bin/sh", "-c", "exit 3"}).status, 3);
  EXPECT_EQ(dept({"--exit-code", "42", "--level", "certain"}, {corpus("M01")}).status, 0) << "what is not shown does not count";
}

TEST_F(DeptVerb, WhatCannotBeRunIsSaid) {
  const Finished none = dept({}, {"/no/such/program"});
  EXPECT_EQ(none.status, 127);
  EXPECT_THAT(none.err, HasSubstr("/no/such/program"));
  std::ofstream(file("text")) << "x";
  const Finished text = dept({}, {file("text")});
  EXPECT_EQ(text.status, 126);
  EXPECT_THAT(text.err, HasSubstr(file("text")));
  EXPECT_EQ(dept({}, {}).status, 2);
  EXPECT_EQ(dept({"--level", "terrible"}, {"/bin/true"}).status, 2);
  const Finished mistyped = run({program("causeway"), "dept", "--jsn", "--", "/bin/echo", "it ran"});
  EXPECT_EQ(mistyped.status, 2);
  EXPECT_THAT(mistyped.err, HasSubstr("--jsn"));
  EXPECT_THAT(mistyped.out, IsEmpty());
  EXPECT_EQ(dept({}, {"/bin/echo", "--json", "-q", "--", "-x"}).out, "--json -q -- -x\n") << "its own";
  for (const char* option : {"--hang", "--max-reports", "--noise"}) {
    const Finished wrong = dept({option, "-1"}, {"/bin/true"});
    EXPECT_EQ(wrong.status, 2) << option;
    EXPECT_THAT(wrong.err, AllOf(HasSubstr("causeway dept: "), HasSubstr(option), HasSubstr("want "), HasSubstr("see causeway dept --help")));
  }
}

TEST_F(DeptVerb, AFindingIsToldOnStandardErrorAsText) {
  const Finished finished = dept({}, {corpus("M01")});
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.out, IsEmpty());
  EXPECT_THAT(finished.err, AllOf(HasSubstr("likely: "), HasSubstr("mutex accounts"), HasSubstr("mutex journal"), HasSubstr("audit() at M01.c:"),
                                  HasSubstr("dept: 1 finding")));
  const Finished quiet = dept({"-q"}, {corpus("M03b")});
  EXPECT_THAT(quiet.err, IsEmpty());
}

TEST_F(DeptVerb, JsonSaysTheSame) {
  const json all = outcome({}, {corpus("M01")});
  ASSERT_TRUE(all.is_object());
  EXPECT_EQ(all["schema"], "causeway-dept-1");
  EXPECT_THAT(all["program"].get<std::string>(), HasSubstr("M01"));
  EXPECT_EQ(all["levels"]["likely"], 1);
  ASSERT_EQ(all["processes"].size(), 1u);
  EXPECT_EQ(all["processes"][0]["program"], "M01");
  ASSERT_EQ(all["findings"].size(), 1u);
  const json& finding = all["findings"][0];
  EXPECT_EQ(finding["kind"], "lock");
  EXPECT_EQ(finding["id"].get<std::string>().size(), 16u);
  ASSERT_EQ(finding["hops"].size(), 2u);
  for (const json& hop : finding["hops"]) {
    ASSERT_FALSE(hop["wait"].empty());
    EXPECT_THAT(hop["wait"][0]["file"].get<std::string>(), HasSubstr("M01.c"));
    EXPECT_GT(hop["wait"][0]["line"], 0);
  }
  const Finished on_stderr = dept({"--json"}, {corpus("M01")});
  const json same = json::parse(on_stderr.err, nullptr, false);
  ASSERT_TRUE(same.is_object()) << on_stderr.err;
  EXPECT_EQ(same["findings"][0]["id"], finding["id"]);
}

TEST_F(DeptVerb, PicturesAreWritten) {
  const Finished finished = dept({"--svg", file("a.svg"), "--dot", file("a.dot"), "--html", file("a.html"), "--graph", file("g.dot"),
                                  "--sarif", file("a.sarif")}, {corpus("M01")});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(text_of(file("a.svg")), AllOf(HasSubstr("<svg"), HasSubstr("journal"), HasSubstr("</svg>")));
  EXPECT_THAT(text_of(file("a.dot")), AllOf(HasSubstr("digraph"), HasSubstr("journal")));
  EXPECT_THAT(text_of(file("g.dot")), AllOf(HasSubstr("digraph"), HasSubstr("journal")));
  EXPECT_THAT(text_of(file("a.html")), AllOf(HasSubstr("<!doctype html>"), HasSubstr("journal")));
  EXPECT_TRUE(json::parse(text_of(file("a.sarif")), nullptr, false).is_object());
  const Finished failed = dept({"--svg", file("none/a.svg")}, {"/bin/echo", "it ran"});
  EXPECT_NE(failed.status, 0);
  EXPECT_THAT(failed.err, AllOf(HasSubstr(file("none/a.svg")), HasSubstr("No such file")));
  EXPECT_THAT(failed.out, IsEmpty()) << "said before the program, not after it";
  const Finished full = dept({"--svg", "/dev/full"}, {corpus("M01")});
  EXPECT_NE(full.status, 0);
  EXPECT_THAT(full.err, HasSubstr("No space left"));
}

TEST_F(DeptVerb, WhatIsSuppressedIsCountedAndNotTold) {
  std::ofstream(file("known.supp")) << "match function audit\nmatch function nobody_calls_this\n";
  const Finished finished = dept({"--suppress", file("known.supp"), "--exit-code", "42"}, {corpus("M01")});
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.err, AllOf(Not(HasSubstr("likely: ")), HasSubstr("suppressed"), HasSubstr("nobody_calls_this")));
}

// The option takes one file, so that the program may come without '--' before it.
TEST_F(DeptVerb, SuppressionsComeInSeveralFiles) {
  std::ofstream(file("one")) << "match function nobody_calls_this\n";
  std::ofstream(file("two")) << "match function audit\n";
  const Finished finished = run({program("causeway"), "dept", "--suppress", file("one"), "--suppress", file("two"), corpus("M01")});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.err, AllOf(Not(HasSubstr("likely: ")), HasSubstr("1 suppressed"), HasSubstr("nobody_calls_this")));
}

TEST_F(DeptVerb, ABaselineHidesWhatWasKnown) {
  EXPECT_EQ(dept({"--write-baseline", file("base")}, {corpus("M01")}).status, 0);
  EXPECT_THAT(text_of(file("base")), Not(IsEmpty()));
  EXPECT_EQ(dept({"--baseline", file("base"), "--exit-code", "42"}, {corpus("M01")}).status, 0);
  EXPECT_EQ(dept({"--baseline", file("base"), "--exit-code", "42"}, {corpus("M02")}).status, 42);
}

TEST_F(DeptVerb, LevelsDecideWhatIsShown) {
  EXPECT_THAT(dept({}, {corpus("M05")}).err, Not(HasSubstr("info: ")));
  EXPECT_THAT(dept({"--level", "info"}, {corpus("M05")}).err, HasSubstr("info: "));
}

TEST_F(DeptVerb, RecordingsThatAreKeptAreReadAgain) {
  const std::string before = dept({"--keep", file("run")}, {corpus("M01")}).err;
  ASSERT_TRUE(std::filesystem::is_directory(file("run")));
  const Finished again = run({program("causeway"), "dept", "--read", file("run"), "--exit-code", "7"});
  EXPECT_EQ(again.status, 7) << again.err;
  EXPECT_THAT(again.out, AllOf(HasSubstr("likely: "), HasSubstr("audit() at M01.c:")));
  std::ofstream(file("no.dept")) << "no recording";
  EXPECT_EQ(run({program("causeway"), "dept", "--read", file("no.dept")}).status, 1);
}

TEST_F(DeptVerb, SeveralRunsShowTogetherWhatNoneShowsAlone) {
  EXPECT_EQ(dept({"--db", file("db"), "--exit-code", "42"}, {corpus("M18"), "0"}).status, 0);
  const json all = outcome({"--db", file("db"), "--exit-code", "42"}, {corpus("M18"), "3"}, 42);
  ASSERT_EQ(all["findings"].size(), 1u);
  EXPECT_EQ(all["findings"][0]["level"], "likely");
  EXPECT_NE(all["findings"][0]["hops"][0]["thread"]["run"], all["findings"][0]["hops"][1]["thread"]["run"]);
  for (const char* safe : {"M05", "M06"})
    for (int i = 0; i < 2; ++i) EXPECT_EQ(dept({"--db", file("db"), "--exit-code", "42"}, {corpus(safe)}).status, 0) << safe;
  std::ofstream(file("none")) << "hello";
  const Finished refused = dept({"--db", file("none")}, {"/bin/sh", "-c", "echo it ran"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.out, IsEmpty());
  EXPECT_THAT(refused.err, HasSubstr(file("none")));
  EXPECT_EQ(text_of(file("none")), "hello");
}

// Starts it in the background; both streams go to `log`.
pid_t start(const Words& words, const std::string& log) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

TEST_F(DeptVerb, AHangIsExplainedWhileItLasts) {
  const pid_t pid = start(line({"--hang", "0.5"}, {corpus("J04")}), file("log"));
  EXPECT_TRUE(eventually([&] { return text_of(file("log")).find("certain: ") != std::string::npos; })) << text_of(file("log"));
  EXPECT_THAT(text_of(file("log")), HasSubstr("wait_for_other"));
  for (const pid_t child : children_of(pid)) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGKILL);
}

TEST_F(DeptVerb, AnInterruptionShowsWhatEveryThreadDoes) {
  const pid_t pid = start(line({"--hang", "0"}, {corpus("B02")}), file("log"));
  ASSERT_TRUE(eventually([&] { return !children_of(pid).empty(); }));
  sleep_ms(400);
  EXPECT_THAT(text_of(file("log")), Not(HasSubstr("certain: "))) << "nobody asked for it";
  ::kill(pid, SIGINT);  // it passes it on, and the program ends of it
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
  EXPECT_THAT(text_of(file("log")), AllOf(HasSubstr("what its threads do"), HasSubstr("waits for barrier ready"), HasSubstr("part() at B02.c:")));
}

TEST_F(DeptVerb, WhatCannotBeObservedIsSaid) {
  const json all = outcome({}, {program("scenario-static")}, run({program("scenario-static")}).status);
  ASSERT_EQ(all["not_observed"].size(), 1u);
  EXPECT_THAT(all["not_observed"][0].get<std::string>(), HasSubstr("statically"));
}

TEST_F(DeptVerb, ChildrenAreFollowedUnlessNot) {
  std::ofstream(file("script")) << "#!/bin/sh\n" << corpus("M01") << "\nexit 5\n";
  std::filesystem::permissions(file("script"), std::filesystem::perms::owner_all);
  EXPECT_EQ(outcome({}, {file("script")}, 5)["levels"]["likely"], 1);
  EXPECT_EQ(outcome({"--no-follow"}, {file("script")}, 5)["levels"]["likely"], 0);
}

TEST_F(DeptVerb, StandardStreamsAreTheProgramsOwn) {
  const std::string in = file("in"), out = file("out"), err = file("err");
  {
    std::ofstream bytes(in, std::ios::binary);
    for (unsigned i = 0; i < 1u << 20; ++i) bytes.put(static_cast<char>(i * 2654435761u >> 24));
  }
  const std::string verb = program("causeway") + " dept -q -- ";
  EXPECT_EQ(shell(fmt::format("{}cat < {} > {} 2> {}", verb, in, out, err)).status, 0);
  EXPECT_EQ(text_of(out), text_of(in));
  EXPECT_EQ(text_of(err), "");
  EXPECT_EQ(shell(fmt::format("cat {} | {}cat | cmp - {}", in, verb, in)).status, 0);
  EXPECT_EQ(shell(fmt::format("{}sh -c 'echo one; echo two >&2' 2> {}", verb, err)).out, "one\n");
  EXPECT_EQ(text_of(err), "two\n");
}

TEST_F(DeptVerb, RunsSideBySideDoNotMeet) {
  constexpr unsigned kRuns = 6;
  Finished finished[kRuns];
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kRuns; ++i)
    threads.emplace_back([&, i] { finished[i] = dept({"--db", file("db"), "--exit-code", "42"}, {corpus(i % 2 == 0 ? "M01" : "M03b")}); });
  for (std::thread& thread : threads) thread.join();
  for (unsigned i = 0; i < kRuns; ++i) EXPECT_EQ(finished[i].status, i % 2 == 0 ? 42 : 0) << finished[i].err;
}

TEST_F(DeptVerb, ASignalThatEndedTheProgramIsTold) {
  EXPECT_THAT(dept({}, {"/bin/sh", "-c", "kill -SEGV $$"}).err, HasSubstr("ended by SIGSEGV"));
  EXPECT_EQ(outcome({}, {"/bin/sh", "-c", "kill -SEGV $$"}, 128 + SIGSEGV)["ended_by"].get<std::string>().substr(0, 7), "SIGSEGV");
  EXPECT_THAT(dept({}, {"/bin/true"}).err, Not(HasSubstr("ended by")));
}

// A second run told the first one's findings as its own.
TEST_F(DeptVerb, RecordingsOfTwoRunsAreNotMixed) {
  EXPECT_EQ(dept({"--keep", file("run"), "--exit-code", "42"}, {corpus("M01")}).status, 42);
  const Finished again = dept({"--keep", file("run")}, {"/bin/echo", "it ran"});
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.err, AllOf(HasSubstr(file("run")), HasSubstr("earlier run")));
  EXPECT_THAT(again.out, IsEmpty());
  EXPECT_EQ(dept({"--keep", file("other"), "--read", file("run")}, {}).status, 2);
}

TEST_F(DeptVerb, WhoStopsReadingWhatIsToldStopsNothingElse) {
  const Finished finished = shell(fmt::format("{{ {} dept --exit-code 42 --json-file {} -- {}; echo $? >{}; }} 2>&1 | true", program("causeway"),
                                              file("out.json"), corpus("M01"), file("status")));
  EXPECT_EQ(text_of(file("status")), "42\n") << finished.err;
  EXPECT_TRUE(json::parse(text_of(file("out.json")), nullptr, false).is_object());
  EXPECT_EQ(dept({}, {"/bin/sh", "-c", "kill -PIPE $$"}).status, 128 + SIGPIPE) << "the program's is as it was";
}

TEST_F(DeptVerb, NothingIsLeftBehind) {
  const Words with_own = line({"--keep", file("kept")}, {"/bin/sh", "-c", "echo $CAUSEWAY_DEPT_DIR"});
  EXPECT_EQ(run(with_own).out, file("kept") + "\n");
  const std::string where = dept({}, {"/bin/sh", "-c", "echo $CAUSEWAY_DEPT_DIR"}).out;
  ASSERT_THAT(where, StartsWith("/"));
  EXPECT_FALSE(std::filesystem::exists(where.substr(0, where.size() - 1)));
}

}  // namespace
}  // namespace causeway::tests
