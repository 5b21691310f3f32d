#include "cli/child.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"

namespace causeway::cli {
namespace {

Child shell(const std::string& script, Child::Options options = {}) {
  auto child = Child::start("/bin/sh", {"-c", script}, options);
  EXPECT_TRUE(child.has_value()) << to_string(child.error());
  return child ? std::move(*child) : Child{};
}

TEST(Child, TellsItsExitStatus) {
  Child child = shell("exit 3");
  ASSERT_TRUE(child.wait(10000));
  EXPECT_EQ(child.how_it_ended(), "exit status 3");
  EXPECT_FALSE(child.running());
}

TEST(Child, TellsTheSignalThatKilledIt) {
  Child child = shell("kill -9 $$");
  ASSERT_TRUE(child.wait(10000));
  EXPECT_EQ(child.how_it_ended(), "killed by SIGKILL");
}

TEST(Child, WaitGivesUpOnOneThatRunsOn) {
  Child child = shell("sleep 60");
  EXPECT_FALSE(child.wait(1));
  EXPECT_TRUE(child.running());
  EXPECT_EQ(child.how_it_ended(), "");
}

TEST(Child, DestructorKillsAndReaps) {
  pid_t pid;
  {
    Child child = shell("sleep 60");
    pid = child.pid();
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Child, ReleasedOneLivesOn) {
  Child child = shell("sleep 60", {.life = Child::Life::kDetached, .share_stderr = false, .log_file = ""});
  pid_t pid = child.pid();
  child.release();
  EXPECT_FALSE(static_cast<bool>(child));
  EXPECT_EQ(::kill(pid, 0), 0);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST(Child, KeepsItsLogInMemory) {
  Child child = shell("echo one >&2; echo two >&2");
  ASSERT_TRUE(child.wait(10000));
  EXPECT_EQ(child.log(), "one\ntwo\n");
  EXPECT_EQ(child.last_log_line(), "two");
}

TEST(Child, LogThatIsFullNeitherGrowsNorStopsTheWriter) {
  Child child = shell("i=0; while [ $i -lt 3000 ]; do echo 'a line of more than thirty-two bytes' >&2; i=$((i+1)); done; exit 7");
  ASSERT_TRUE(child.wait(60000));
  EXPECT_EQ(child.how_it_ended(), "exit status 7");
  EXPECT_LE(child.log().size(), 64u << 10);
  EXPECT_GT(child.log().size(), 60u << 10);
}

TEST(Child, LogFileIsAppendedTo) {
  std::string path = std::filesystem::temp_directory_path() / fmt::format("causeway-child-test-{}", ::getpid());
  std::ofstream(path) << "before\n";
  {
    Child child = shell("echo after >&2", {.life = Child::Life::kDetached, .share_stderr = false, .log_file = path});
    ASSERT_TRUE(child.wait(10000));
    EXPECT_EQ(child.log(), "") << "a log in a file is not kept in memory too";
  }
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  std::filesystem::remove(path);
  EXPECT_EQ(text.str(), "before\nafter\n");
}

TEST(Child, LogFileThatCannotBeOpenedIsAnError) {
  auto child = Child::start("/bin/true", {},
                            {.life = Child::Life::kDetached, .share_stderr = false, .log_file = "/nonexistent/log"});
  ASSERT_FALSE(child.has_value());
  EXPECT_EQ(child.error().code, Errno{ENOENT});
}

TEST(Child, ProgramThatCannotBeExecutedEndsWith127AndSaysWhy) {
  auto child = Child::start("/nonexistent/program", {}, {});
  ASSERT_TRUE(child.has_value());
  ASSERT_TRUE(child->wait(10000));
  EXPECT_EQ(child->how_it_ended(), "exit status 127");
  EXPECT_EQ(child->last_log_line(), "cannot execute /nonexistent/program: No such file or directory");
}

TEST(Child, HasNoTerminalAndASessionOfItsOwn) {
  Child child = shell("[ \"$(ps -o sid= -p $$ 2>/dev/null | tr -d ' ')\" = $$ ] || "
                      "[ \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ ]");
  ASSERT_TRUE(child.wait(10000));
  EXPECT_EQ(child.how_it_ended(), "exit status 0");
}

// In a process of its own: the handler ends the process that runs it.
TEST(Child, SignalStopsChildrenThenEndsTheProgramByThatSignal) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  pid_t program = ::fork();
  ASSERT_GE(program, 0);
  if (program == 0) {
    stop_children_on_signals();
    Child child = shell("sleep 60", {.life = Child::Life::kDetached, .share_stderr = false, .log_file = ""});
    pid_t pid = child.pid();
    (void)!::write(pipe_fds[1], &pid, sizeof pid);
    while (true) ::pause();
  }
  pid_t grandchild = 0;
  ASSERT_EQ(::read(pipe_fds[0], &grandchild, sizeof grandchild), static_cast<ssize_t>(sizeof grandchild));
  ::kill(program, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(program, &status, 0), program);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
  EXPECT_EQ(::kill(grandchild, 0), -1) << "it was reaped before the program ended";
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
}

}  // namespace
}  // namespace causeway::cli
