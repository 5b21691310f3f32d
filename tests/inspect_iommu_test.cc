// `causeway inspect` on images with IOMMU state: made here, and of a machine that translates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/launch.h"
#include "inspect/testing/iommu_example.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using inspect::IommuExample;
using nlohmann::json;

class InspectIommu : public ::testing::Test {
 protected:
  std::string image(IommuExample::Mode mode) {
    const auto bytes = IommuExample(mode).core();
    std::ofstream(path_, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()),
                                                 static_cast<std::streamsize>(bytes.size()));
    return path_;
  }
  Finished inspect(std::vector<std::string> words) {
    words.insert(words.begin(), {program("causeway"), "inspect"});
    return run(words);
  }
  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/handover.elf";
};

TEST_F(InspectIommu, DrawsTheWayOfADevice) {
  const Finished finished = inspect({image(IommuExample::Mode::kScalable), "--device", "00:01.0"});
  EXPECT_EQ(finished.status, 0) << finished.out << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("device 00:01.0, scalable mode, domain id 2"));
  EXPECT_THAT(finished.out, HasSubstr("`- level 0: 1 table: 2 x 4 KiB"));
  EXPECT_THAT(finished.out, HasSubstr("0x1000..0x2fff"));

  const Finished as_json = inspect({path_, "--device", "0000:00:01.0", "--json"});
  EXPECT_EQ(as_json.status, 0);
  EXPECT_EQ(json::parse(as_json.out)["translation"]["ranges"].size(), 2u);
}

TEST_F(InspectIommu, ADeviceThatIsNotThereIsAnErrorThatListsThoseThatAre) {
  const Finished finished = inspect({image(IommuExample::Mode::kLegacy), "--device", "00:07.0"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("no device 00:07.0 is handed over: those in it are 00:01.0, 00:02.0, 00:03.1"));
  EXPECT_THAT(finished.out, IsEmpty());
  const Finished without = inspect(
      {std::string(CW_INSPECT_TESTDATA) + "/linux-7.3-luo-multi.elf.zst", "--device", "00:01.0"});
  EXPECT_EQ(without.status, 1);
  EXPECT_THAT(without.err, HasSubstr("it has no IOMMU state"));
}

TEST_F(InspectIommu, AnAddressThatIsNoneIsAUsageError) {
  for (const char* address : {"7", "00:20.0", "00:01.8", "00:01", "000:00:01.0", "00:01.0x", "0g:01.0"})
    EXPECT_EQ(inspect({path_, "--device", address}).status, 2) << address;
}

// A standing handover of a machine whose devices are translated: everything on the way of its device is handed over.
class InspectTranslated : public ::testing::TestWithParam<const char*> {};

TEST_P(InspectTranslated, AStandingHandoverIsWhole) {
  const std::string name = cli::private_name();
  TemporaryDirectory directory;
  const std::string file = directory.path() + "/handover.elf";
  auto causeway = [&](std::vector<std::string> words) {
    words.insert(words.begin(), program("causeway"));
    return run(words);
  };
  const Finished up = causeway({"up", "--name", name, "--iommu", GetParam(), "--cmdline", "dma_engine.ring=64"});
  ASSERT_EQ(up.status, 0) << up.out << up.err;
  // The kernel runs on while it is dumped: what it maps between two pages of the dump is in the tables and not yet in the tree
  // of what is preserved. What is wrong with the handover itself is wrong in every dump.
  Finished seen;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Finished dumped = causeway({"dump", "--name", name, "-o", file});
    EXPECT_EQ(dumped.status, 0) << dumped.err;
    seen = causeway({"inspect", file, "--device", "00:01.0", "--json"});
    if (seen.status == 0) break;
  }
  causeway({"down", "--name", name});
  EXPECT_EQ(seen.status, 0) << seen.out << seen.err;
  const json report = json::parse(seen.out, nullptr, false);
  ASSERT_TRUE(report.is_object() && report.contains("translation")) << seen.out;
  EXPECT_EQ(report["problem_count"], 0) << report["problems"];
  EXPECT_EQ(report["translation"]["pasid_entry"].is_null(), std::string(GetParam()) == "legacy");
  EXPECT_GT(report["translation"]["ranges"].size(), 0u);
  EXPECT_EQ(report["translation"]["unpreserved_bytes"], 0);
}
INSTANTIATE_TEST_SUITE_P(All, InspectTranslated, ::testing::Values("legacy", "scalable"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace causeway::tests
