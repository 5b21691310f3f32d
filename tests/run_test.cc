// Programs under `causeway run`, with the shim preloaded and with their system calls trapped. What they do is in
// client_programs/scenarios; each says on stderr what it found otherwise than on Linux.
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "base/unique_fd.h"
#include "cli/client_program.h"
#include "cli/launch.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

enum class Way { kPreloaded, kSupervised };

// A program to talk to while it runs.
class Conversation {
 public:
  explicit Conversation(std::vector<std::string> words) {
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) return;
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setpgid(0, 0);
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_.reset(in[1]);
    from_.reset(out[0]);
  }
  ~Conversation() {
    if (pid_ > 0) {
      ::kill(-pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  // "": none came within 30 seconds.
  std::string read_line() {
    std::string line;
    pollfd readable{from_.get(), POLLIN, 0};
    for (char byte; ::poll(&readable, 1, 30000) == 1 && ::read(from_.get(), &byte, 1) == 1;) {
      if (byte == '\n') return line;
      line += byte;
    }
    return line;
  }
  void write_line() { EXPECT_EQ(::write(to_.get(), "\n", 1), 1); }
  void signal(int number) { ::kill(pid_, number); }
  // As a shell gives it.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  UniqueFd to_, from_;
};

std::vector<std::string> run_words(Way way, std::vector<std::string> program_words, const std::string& name = "") {
  std::vector<std::string> words{program("causeway"), "run"};
  if (way == Way::kSupervised) words.emplace_back("--supervise");
  if (!name.empty()) words.insert(words.end(), {"--name", name});
  words.emplace_back("--");
  words.insert(words.end(), program_words.begin(), program_words.end());
  return words;
}

class Scenario : public ::testing::TestWithParam<Way> {
 protected:
  Finished scenario(std::vector<std::string> words) {
    words.insert(words.begin(), program("scenario"));
    return run(run_words(GetParam(), words));
  }
  void expect_success(const std::vector<std::string>& words) {
    Finished finished = scenario(words);
    EXPECT_EQ(finished.status, 0) << finished.out << finished.err;
  }
};
INSTANTIATE_TEST_SUITE_P(Run, Scenario, ::testing::Values(Way::kPreloaded, Way::kSupervised), [](const auto& way) {
  return way.param == Way::kPreloaded ? "preloaded" : "supervised";
});

TEST_P(Scenario, DuplicatesAreOneFileAndTheLastCloseReleasesIt) { expect_success({"duplicates"}); }
TEST_P(Scenario, CloseIsSynchronous) { expect_success({"exclusive_open"}); }
TEST_P(Scenario, CloseOnExecAndTheIoctlsOfTheVfs) { expect_success({"flags"}); }
TEST_P(Scenario, PollAndSelectFindTheFilesReady) { expect_success({"polling"}); }
TEST_P(Scenario, ProgramsThatCloseEverythingBetweenCalls) { expect_success({"closing_everything"}); }
TEST_P(Scenario, NoDescriptorsLeftIsEmfileAndMakesNoSession) { expect_success({"no_descriptors_left"}); }
TEST_P(Scenario, NoDescriptorForTheFirstCallIsEmfile) { expect_success({"first_call_without_descriptors"}); }
TEST_P(Scenario, StatAndAccessSeeTheDevice) { expect_success({"looks"}); }
TEST_P(Scenario, ArgumentsLieAnywhere) { expect_success({"argument_places"}); }
TEST_P(Scenario, MemoryThatIsNotThereIsEfault) {
  GetParam() == Way::kPreloaded ? expect_success({"faults"}) : expect_success({"faults", "supervised"});
}
TEST_P(Scenario, ForkSharesFilesNotChannels) { expect_success({"forking"}); }
TEST_P(Scenario, ForkWithoutTheCLibrary) { expect_success({"bare_fork"}); }
TEST_P(Scenario, AKilledProgramLeavesNothing) { expect_success({"killed"}); }
TEST_P(Scenario, ExecInheritsWhatIsNotCloseOnExec) { expect_success({"exec"}); }
TEST_P(Scenario, VforkAndPosixSpawn) { expect_success({"spawning"}); }
TEST_P(Scenario, DescriptorsArePassedToOtherProcesses) { expect_success({"passing"}); }
TEST_P(Scenario, SixteenThreads) { expect_success({"threads"}); }
TEST_P(Scenario, HandlersThatInterruptACallAndMakeOne) { expect_success({"signals"}); }

TEST_P(Scenario, ExitStatusAndSignalsArePassedOn) {
  for (int status : {0, 1, 77, 255}) EXPECT_EQ(scenario({"exit_with", std::to_string(status)}).status, status);
  for (int number : {SIGKILL, SIGUSR1}) EXPECT_EQ(scenario({"die_by", std::to_string(number)}).status, 128 + number);
}

TEST_P(Scenario, SigtermIsForwarded) {
  Conversation program_run(run_words(GetParam(), {program("scenario"), "wait_for_signal"}));
  ASSERT_EQ(program_run.read_line(), "ready");
  program_run.signal(SIGTERM);
  EXPECT_EQ(program_run.wait(), 42);
}

TEST_P(Scenario, AScriptsProgramsAreServed) {
  TemporaryDirectory directory;
  std::string path = directory.path() + "/script";
  std::ofstream(path) << "#!/bin/sh\ntest -c /dev/liveupdate || exit 3\n\"$1\" looks && \"$1\" \"$2\" && exit 5\n";
  ::chmod(path.c_str(), 0755);
  Finished finished = run(run_words(GetParam(), {path, program("scenario"), "duplicates"}));
  EXPECT_EQ(finished.status, 5) << finished.err;
}

TEST_P(Scenario, AFilterOfTheProgramsOwn) {
  Finished finished = scenario({"own_filter"});
  if (GetParam() == Way::kPreloaded) {
    EXPECT_EQ(finished.status, 128 + SIGSYS);
    EXPECT_THAT(finished.err, HasSubstr("refuses process_vm_readv,"));
    EXPECT_THAT(finished.err, HasSubstr("--supervise"));
  } else {
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
  }
}

TEST(Run, LibrariesThatArePreloadedAlreadyStay) {
  Finished finished = run({"/usr/bin/env", "LD_PRELOAD=libm.so.6", program("causeway"), "run", "--", "/bin/sh", "-c",
                           "echo $LD_PRELOAD; exec \"$0\" looks", program("scenario")});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("libcauseway-shim.so:libm.so.6"));
}

TEST(Run, AChildWithAClearedEnvironmentIsServedBySupervision) {
  std::vector<std::string> words{"/usr/bin/env", "-i", program("scenario"), "duplicates"};
  Finished finished = run(run_words(Way::kSupervised, words));
  EXPECT_EQ(finished.status, 0) << finished.err;
}

TEST(Run, AStaticProgramIsSupervisedUnasked) {
  for (const char* name : {"duplicates", "threads", "forking", "spawning"}) {
    Finished finished = run(run_words(Way::kPreloaded, {program("scenario-static"), name}));
    EXPECT_EQ(finished.status, 0) << name << ": " << finished.err;
  }
}

TEST(Run, AProgramThatIsNotThereIs127) {
  Finished finished = run(run_words(Way::kPreloaded, {"causeway-no-such-program"}));
  EXPECT_EQ(finished.status, 127);
  EXPECT_THAT(finished.err, HasSubstr("causeway-no-such-program"));
  EXPECT_EQ(run(run_words(Way::kPreloaded, {"/nonexistent/program"})).status, 127);
}

void write_program(const std::string& path, unsigned char word_size, uint16_t machine, mode_t mode) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = word_size;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = machine;
  std::ofstream(path).write(reinterpret_cast<const char*>(&header), sizeof header);
  ::chmod(path.c_str(), mode);
}

TEST(Run, ProgramsThatCannotBeServedAre126AndSayWhy) {
  TemporaryDirectory directory;
  std::string path = directory.path() + "/program";
  for (auto [word_size, machine] : {std::pair{ELFCLASS32, EM_386}, std::pair{ELFCLASS64, EM_PPC64}}) {
    write_program(path, static_cast<unsigned char>(word_size), static_cast<uint16_t>(machine), 0755);
    Finished finished = run(run_words(Way::kPreloaded, {path}));
    EXPECT_EQ(finished.status, 126);
    EXPECT_THAT(finished.err, HasSubstr("another architecture or word size"));
  }
  std::ofstream(path) << "just text";
  EXPECT_EQ(run(run_words(Way::kPreloaded, {path})).status, 126);
  ::chmod(path.c_str(), 0644);
  EXPECT_EQ(run(run_words(Way::kPreloaded, {path})).status, 126);
}

TEST(Run, ASetuidProgramIsKnownUnlessRootRunsIt) {
  TemporaryDirectory directory;
  ::chmod(directory.path().c_str(), 0755);
  std::string path = directory.path() + "/program";
  write_program(path, ELFCLASS64, EM_X86_64, 04755);
  pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(2);
    std::string reason;
    auto found = cli::ClientProgram::find(path, &reason);
    ::_exit(found && found->linking == cli::Linking::kSetuid ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// On a machine that outlives the programs.
class Handover : public Scenario {
 protected:
  void SetUp() override {
    Finished up = causeway({"up", "--ram", "256M", "--device", "none"});
    ASSERT_EQ(up.status, 0) << up.err;
  }
  void TearDown() override { causeway({"down"}); }

  Finished causeway(std::vector<std::string> words) {
    words.insert(words.begin(), program("causeway"));
    words.insert(words.begin() + 2, {"--name", name_});
    return run(words);
  }
  std::vector<std::string> words(std::vector<std::string> program_words) {
    program_words.insert(program_words.begin(), program("scenario"));
    return run_words(GetParam(), program_words, name_);
  }
  void kexec() {
    Finished finished = causeway({"kexec"});
    ASSERT_EQ(finished.status, 0) << finished.err;
  }

  const std::string name_ = cli::private_name();
};
INSTANTIATE_TEST_SUITE_P(Run, Handover, ::testing::Values(Way::kPreloaded, Way::kSupervised), [](const auto& way) {
  return way.param == Way::kPreloaded ? "preloaded" : "supervised";
});

TEST_P(Handover, FilesComeBackWithContentSizeAndPosition) {
  Conversation first(words({"save"}));
  ASSERT_EQ(first.read_line(), "saved");
  kexec();
  Finished second = run(words({"restore"}));
  EXPECT_EQ(second.status, 0) << second.err;
  // The old program, which a real kexec would have ended: its descriptors are dead, the device is not.
  first.write_line();
  EXPECT_EQ(first.read_line(), "gone");
  EXPECT_EQ(first.wait(), 0);
}

TEST_P(Handover, WhatWasAcknowledgedBeforeTheFreezeIsHandedOver) {
  Conversation busy(words({"busy"}));
  ASSERT_EQ(busy.read_line(), "busy");
  kexec();
  EXPECT_EQ(busy.wait(), 0);
}

TEST_P(Handover, ADaemonKeepsItsSessionsAfterRunHasReturned) {
  Finished left = run(words({"leave_daemon", "daemon"}));
  ASSERT_EQ(left.status, 0) << left.err;
  pid_t daemon = static_cast<pid_t>(std::stol(left.out));
  EXPECT_EQ(run(words({"is_taken", "daemon"})).status, 17);
  ::kill(daemon, SIGKILL);
  EXPECT_TRUE(eventually([&] { return is_dead(daemon); }));
  EXPECT_EQ(run(words({"is_taken", "daemon"})).status, 0);
}

TEST_P(Handover, ARefusedTargetLeavesSessionsUsable) {
  Conversation program_run(words({"survive_failed_update"}));
  ASSERT_EQ(program_run.read_line(), "saved");
  EXPECT_EQ(causeway({"kexec", "--kernel", "/bin/true"}).status, 1);
  EXPECT_EQ(causeway({"kexec", "--kernel", program("alien-kernel")}).status, 1);
  program_run.write_line();
  EXPECT_EQ(program_run.wait(), 0);
}

// It passes every check, and the host's kernel cannot start it: its interpreter is missing.
TEST_P(Handover, AJumpThatFailsLeavesSessionsUsable) {
  TemporaryDirectory directory;
  std::string path = directory.path() + "/kernel";
  std::ifstream in(program("causeway-kernel-next"), std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(in), {});
  size_t at = bytes.find("/lib64/ld-linux");
  ASSERT_LT(at, 4096u);
  bytes[at + 1] = 'X';
  std::ofstream(path, std::ios::binary) << bytes;
  ::chmod(path.c_str(), 0755);

  Conversation program_run(words({"survive_failed_update"}));
  ASSERT_EQ(program_run.read_line(), "saved");
  Finished finished = causeway({"kexec", "--kernel", path});
  EXPECT_EQ(finished.status, 1) << finished.out;
  program_run.write_line();
  EXPECT_EQ(program_run.wait(), 0);
}

TEST_P(Handover, AKernelThatDiesAtBootIsFollowedByOneThatHasTheSessions) {
  Conversation first(words({"save"}));
  ASSERT_EQ(first.read_line(), "saved");
  EXPECT_EQ(causeway({"kexec", "--kernel", program("dying-kernel")}).status, 1);
  ASSERT_EQ(causeway({"up"}).status, 0);
  Finished second = run(words({"restore"}));
  EXPECT_EQ(second.status, 0) << second.err;
}

}  // namespace
}  // namespace causeway::tests
