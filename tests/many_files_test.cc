// As many files in a session as descriptors allow, and as many cycles as it takes to see a leak.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/launch.h"
#include "program.h"

namespace causeway::tests {
namespace {

using nlohmann::json;

class ManyFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    // A record takes three pages: the descriptor, the folios' array and its list of pages.
    Finished up = causeway({"up", "--ram", "512M", "--json"});
    ASSERT_EQ(up.status, 0) << up.err;
    json answer = json::parse(up.out);
    kernel_ = answer["kernel"]["pid"];
    machine_ = answer["machine"]["pid"];
  }
  ~ManyFiles() override {
    causeway({"down"});
    for (pid_t pid : {kernel_, machine_})
      if (pid > 0) ::kill(pid, SIGKILL);
  }
  Finished causeway(std::vector<std::string> words) {
    words.insert(words.begin(), program("causeway"));
    words.insert(words.begin() + 2, {"--name", name_});
    return run(words);
  }
  Finished cycles(unsigned files, unsigned count) {
    return causeway({"run", "--", program("many_files"), std::to_string(files), std::to_string(count), program("causeway")});
  }
  static size_t descriptors(pid_t pid) {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd"))
      ++count;
    return count;
  }

  const std::string name_ = cli::private_name();
  pid_t kernel_ = -1;
  pid_t machine_ = -1;
};

TEST_F(ManyFiles, FifteenThousandComeBack) {
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < 16'000) GTEST_SKIP() << "at most " << limit.rlim_max << " descriptors a process, want 16000";
  const size_t before = descriptors(machine_);
  Finished finished = cycles(15'000, 1);
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_TRUE(eventually([&] { return descriptors(machine_) == before; })) << "regions are left in the machine";
}

TEST_F(ManyFiles, NoDescriptorIsLeftAfterFiftyCycles) {
  Finished first = cycles(5, 1);
  ASSERT_EQ(first.status, 0) << first.err;
  const size_t kernel_before = descriptors(kernel_), machine_before = descriptors(machine_);
  Finished finished = cycles(5, 50);
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_TRUE(eventually([&] { return descriptors(kernel_) <= kernel_before; }, std::chrono::seconds(3)))
      << descriptors(kernel_) << " descriptors in the kernel, want " << kernel_before;
  EXPECT_TRUE(eventually([&] { return descriptors(machine_) <= machine_before; }, std::chrono::seconds(3)))
      << descriptors(machine_) << " descriptors in the machine, want " << machine_before;
}

}  // namespace
}  // namespace causeway::tests
