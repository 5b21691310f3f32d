// What the inspector says of handovers that real programs' sessions are in: dumped by the kernel before the jump, by the
// causeway program from a standing machine, or by Linux.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "cli/launch.h"
#include "program.h"
#include "server/control.h"

namespace causeway::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

const std::string kFixture = std::string(CW_INSPECT_TESTDATA) + "/linux-7.3-luo-multi";
const std::vector<std::string> kContents = {"vm0", "0x1a", "the guest's memory", "vm0", "7", "its devices",
                                            "vm1", "1", "another guest"};

json inspect(const std::string& image, int want_status) {
  Finished finished = run({program("causeway"), "inspect", image, "--json"});
  EXPECT_EQ(finished.status, want_status) << finished.out << finished.err;
  return json::parse(finished.out, nullptr, false);
}

// Every field of `wanted` is in `found` with that value; `found` may have more.
void expect_contains(const json& found, const json& wanted, const std::string& where) {
  if (wanted.is_structured()) {
    ASSERT_EQ(found.type(), wanted.type()) << where;
    if (wanted.is_array()) {
      ASSERT_EQ(found.size(), wanted.size()) << where;
    }
    for (const auto& [name, value] : wanted.items()) {
      if (wanted.is_object()) {
        ASSERT_TRUE(found.contains(name)) << where << "." << name;
      }
      expect_contains(wanted.is_array() ? found[std::stoul(name)] : found[name], value, where + "." + name);
    }
  } else {
    EXPECT_EQ(found, wanted) << where;
  }
}

// A machine that sessions have been preserved on.
class InspectLive : public ::testing::Test {
 protected:
  InspectLive() {
    json answer = json::parse(causeway({"up", "--cmdline", "dma_engine.ring=64", "--json"}).out, nullptr, false);
    if (answer.is_object() && answer.contains("kernel"))
      machine_ = answer["machine"]["pid"], kernel_ = answer["kernel"]["pid"];
  }
  ~InspectLive() override {
    causeway({"down"});
    for (pid_t pid : {machine_, kernel_})
      if (pid > 0) ::kill(pid, SIGKILL);
  }

  Finished causeway(std::vector<std::string> words, const std::vector<std::string>& program_words = {}) {
    words.insert(words.begin(), program("causeway"));
    words.insert(words.begin() + 2, {"--name", name_});
    if (!program_words.empty()) words.emplace_back("--");
    words.insert(words.end(), program_words.begin(), program_words.end());
    return run(words);
  }
  Finished writer(const std::string& what) {
    std::vector<std::string> words{program("session_writer"), what};
    words.insert(words.end(), kContents.begin(), kContents.end());
    return causeway({"run"}, words);
  }
  uint64_t generation() {
    return json::parse(causeway({"status", "--json"}).out)["kernel"]["generation"].get<uint64_t>();
  }
  std::string file(const std::string& name) const { return directory_.path() + "/" + name; }

  static void expect_contents(const json& report) {
    ASSERT_TRUE(report.contains("luo")) << report;
    const json& sessions = report["luo"]["sessions"];
    ASSERT_EQ(sessions.size(), 2u) << report;
    EXPECT_EQ(sessions[0]["name"], "vm0");
    EXPECT_EQ(sessions[1]["name"], "vm1");
    auto file = [&](unsigned session, unsigned index, uint64_t token, const char* head) {
      const json& one = sessions[session]["files"][index];
      EXPECT_EQ(one["compatible"], "memfd-v2");
      EXPECT_EQ(one["token"], token);
      EXPECT_EQ(one["memfd"]["size"], 4096);
      EXPECT_EQ(one["memfd"]["nr_folios"], 1);
      EXPECT_EQ(one["memfd"]["folios"][0]["head"], head);
    };
    ASSERT_EQ(sessions[0]["files"].size(), 2u);
    ASSERT_EQ(sessions[1]["files"].size(), 1u);
    file(0, 0, 0x1a, "the guest's memory");
    file(0, 1, 7, "its devices");
    file(1, 0, 1, "another guest");
    EXPECT_EQ(report["problem_count"], 0) << report["problems"];
  }

  const std::string name_ = cli::private_name();
  TemporaryDirectory directory_;
  pid_t machine_ = 0, kernel_ = 0;
};

TEST_F(InspectLive, ADumpBeforeTheJumpIsWhatTheNextKernelReads) {
  ASSERT_EQ(writer("save").status, 0);
  Finished update = causeway({"kexec", "--dump", file("core"), "--json"});
  ASSERT_EQ(update.status, 0) << update.out << update.err;
  const json dump = json::parse(update.out)["dump"];
  EXPECT_EQ(dump["file"], file("core"));
  EXPECT_EQ(dump["problems"], 0);
  EXPECT_EQ(dump["file_bytes"], std::filesystem::file_size(file("core")));
  struct stat status {};
  ASSERT_EQ(::stat(file("core").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u) << "programs' memory is in it";

  const json report = inspect(file("core"), 0);
  expect_contents(report);
  EXPECT_EQ(report["fdt_found_by"], "note");
  EXPECT_EQ(report["luo"]["liveupdate_num"], 1);

  Finished check = writer("check");
  EXPECT_EQ(check.status, 0) << check.err;
}

TEST_F(InspectLive, TextOfADumpNamesSessionsTokensAndContents) {
  ASSERT_EQ(writer("save").status, 0);
  Finished update = causeway({"kexec", "--dump", file("core")});
  ASSERT_EQ(update.status, 0) << update.err;
  EXPECT_THAT(update.out, HasSubstr(file("core") + ": "));
  Finished text = run({program("causeway"), "inspect", file("core")});
  EXPECT_EQ(text.status, 0);
  for (const char* part : {"session \"vm0\": 2 files", "token 0x1a: memfd-v2", "starts with \"another guest\"", "no problems"})
    EXPECT_THAT(text.out, HasSubstr(part));
}

// Sessions are serialised only by a live update; a kernel that dies names none.
TEST_F(InspectLive, DumpOfAMachineWhoseKernelWasKilled) {
  ASSERT_EQ(writer("save").status, 0);
  ::kill(kernel_, SIGKILL);
  ASSERT_TRUE(eventually([&] { return is_dead(kernel_); }));
  Finished dump = causeway({"dump", "-o", file("core"), "--json"});
  ASSERT_EQ(dump.status, 0) << dump.out << dump.err;
  EXPECT_EQ(json::parse(dump.out)["generation"], 1);
  const json report = inspect(file("core"), 0);
  EXPECT_TRUE(report["luo"]["sessions"].empty());
  EXPECT_GT(report["memory_map"]["entries"], 0) << "what was preserved is reserved by the next kernel";
  EXPECT_EQ(report["compatible"], "kho-v4");
}

// The next kernel never touched what the old one had frozen.
TEST_F(InspectLive, DumpOfAMachineWhoseNextKernelDiedAtBootHasTheSessions) {
  ASSERT_EQ(writer("save").status, 0);
  Finished update = causeway({"kexec", "--kernel", program("dying-kernel"), "--dump", file("before")});
  ASSERT_EQ(update.status, 1);
  ASSERT_EQ(causeway({"dump", "-o", file("after")}).status, 0);
  expect_contents(inspect(file("before"), 0));
  expect_contents(inspect(file("after"), 0));
}

TEST_F(InspectLive, ADumpThatCannotBeWrittenRefusesTheUpdateAndTheSessionsLive) {
  ASSERT_EQ(writer("save").status, 0);
  // A file size limit of the kernel's, so that the dump fails half way.
  const rlimit small{8192, RLIM_INFINITY}, none{RLIM_INFINITY, RLIM_INFINITY};
  ASSERT_EQ(::prlimit(kernel_, RLIMIT_FSIZE, &small, nullptr), 0);
  Finished update = causeway({"kexec", "--dump", file("core"), "--json"});
  ASSERT_EQ(::prlimit(kernel_, RLIMIT_FSIZE, &none, nullptr), 0);
  EXPECT_EQ(update.status, 1);
  EXPECT_THAT(json::parse(update.out)["error"].get<std::string>(), HasSubstr("EFBIG"));
  EXPECT_FALSE(std::filesystem::exists(file("core"))) << "half a dump is none";
  EXPECT_EQ(generation(), 1u);

  ASSERT_EQ(causeway({"kexec"}).status, 0) << "it went on as before";
  EXPECT_EQ(writer("check").status, 0);
}

// The handover is published before the dump begins: what comes next is a boot of the next kernel.
TEST_F(InspectLive, AKernelKilledWhileItDumpsHasHandedOverItsSessions) {
  if (run({program("causeway-kernel"), "--list-points"}).out.empty()) GTEST_SKIP() << "a build without named points";
  for (const char* point : {"server.dump.begin", "inspect.core.before_write", "inspect.core.before_header"}) {
    SCOPED_TRACE(point);
    auto armed = server::ask(server::kernel_socket_name(name_),
                             fmt::format("kexec {} --point {}=kill", program("causeway-kernel-next"), point));
    ASSERT_TRUE(armed && armed->ok());
    ASSERT_TRUE(eventually([&] { return causeway({"status"}).status == 0; }));
    ASSERT_EQ(writer("save").status, 0);
    Finished update = causeway({"kexec", "--dump", file("core")});
    EXPECT_EQ(update.status, 1);
    EXPECT_THAT(update.err, HasSubstr("devices still run"));
    json up = json::parse(causeway({"up", "--json"}).out);
    kernel_ = up["kernel"]["pid"];
    EXPECT_EQ(up["kernel"]["boot"], "kexec");
    EXPECT_EQ(writer("check").status, 0);
    EXPECT_EQ(inspect(file("core"), 1)["ok"], false) << "half a dump is no image";
  }
}

TEST_F(InspectLive, ARequestWithoutAUsableDescriptorIsRefused) {
  const std::string socket = server::kernel_socket_name(name_);
  const std::string request = "kexec " + program("causeway-kernel-next") + " --dump";
  auto expect_refused = [&](int fd, const char* why) {
    auto reply = server::ask(socket, request, 10000, fd);
    ASSERT_TRUE(reply);
    EXPECT_FALSE(reply->ok());
    EXPECT_THAT(reply->text("reason"), HasSubstr(why));
  };
  expect_refused(-1, "no descriptor");
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  UniqueFd one(sockets[0]), other(sockets[1]);
  expect_refused(one.get(), "regular file");
  UniqueFd memfd(::memfd_create("dump", MFD_CLOEXEC));
  UniqueFd read_only(::open(fmt::format("/proc/self/fd/{}", memfd.get()).c_str(), O_RDONLY | O_CLOEXEC));
  expect_refused(read_only.get(), "EINVAL");
  EXPECT_EQ(generation(), 1u);
}

TEST_F(InspectLive, TheFileOfADumpIsChecked) {
  std::filesystem::create_directory(file("folder"));
  for (const std::vector<std::string>& verb : {std::vector<std::string>{"kexec", "--dump"}, {"dump", "-o"}}) {
    Finished folder = causeway({verb[0], verb[1], file("folder")});
    EXPECT_EQ(folder.status, 1) << verb[0];
    EXPECT_THAT(folder.err, HasSubstr("no regular file"));
    Finished nowhere = causeway({verb[0], verb[1], file("nowhere/core")});
    EXPECT_EQ(nowhere.status, 1) << verb[0];
    EXPECT_THAT(nowhere.err, HasSubstr("nowhere/core"));
  }
  EXPECT_EQ(causeway({"kexec", "--check", "--dump", file("core")}).status, 2);
  EXPECT_EQ(generation(), 1u);
}

TEST_F(InspectLive, MetadataAloneHasNoContents) {
  ASSERT_EQ(writer("save").status, 0);
  ASSERT_EQ(causeway({"kexec", "--kernel", program("dying-kernel")}).status, 1);
  ASSERT_EQ(causeway({"dump", "--metadata", "-o", file("core")}).status, 0);
  const json report = inspect(file("core"), 0);
  EXPECT_EQ(report["luo"]["sessions"][0]["files"][0]["token"], 0x1a);
  std::ifstream in(file("core"), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  EXPECT_THAT(bytes, HasSubstr("vm0"));
  EXPECT_THAT(bytes, Not(HasSubstr("the guest's memory")));
}

TEST(Inspect, JsonOfALinuxImageIsAsExpectedFieldByField) {
  std::ifstream in(kFixture + ".json");
  expect_contains(inspect(kFixture + ".elf.zst", 0), json::parse(in), "");
}

TEST(Inspect, ExitStatusTellsGoodBadAndUsage) {
  TemporaryDirectory directory;
  const std::string garbage = directory.path() + "/garbage";
  std::ofstream(garbage) << std::string(10000, 'x');
  auto status = [](std::vector<std::string> words) {
    words.insert(words.begin(), {program("causeway"), "inspect"});
    return run(words).status;
  };
  EXPECT_EQ(status({kFixture + ".elf.zst"}), 0);
  EXPECT_EQ(status({garbage}), 1);
  EXPECT_EQ(status({directory.path() + "/nothing"}), 1);
  EXPECT_EQ(status({kFixture + ".elf.zst", "--fdt", "0x1000"}), 1) << "no handover there";
  EXPECT_EQ(status({}), 2);
  EXPECT_EQ(status({kFixture + ".elf.zst", "--fdt", "nonsense"}), 2);
  EXPECT_EQ(status({"--help"}), 0);
}

}  // namespace
}  // namespace causeway::tests
