// Images in, text and JSON out. CW_UPDATE_GOLDEN=1 rewrites the expected texts in the source folder.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/printable.h"
#include "inspect/render.h"
#include "inspect/testing/decoding.h"
#include "inspect/testing/image_builder.h"
#include "inspect/testing/iommu_example.h"

namespace causeway::inspect {
namespace {

using nlohmann::json;

const std::string kTestdata = CW_INSPECT_TESTDATA;
const std::string kFixture = kTestdata + "/linux-7.3-luo-multi";

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = kTestdata + "/" + name;
  if (std::getenv("CW_UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(text, read_file(path)) << "CW_UPDATE_GOLDEN=1 makes this the expected text of " << path;
}

// Every field of `wanted` is in `found` with that value; `found` may have more, at any depth.
void expect_contains(const json& found, const json& wanted, const std::string& where) {
  if (wanted.is_object()) {
    ASSERT_TRUE(found.is_object()) << where;
    for (const auto& [name, value] : wanted.items()) {
      ASSERT_TRUE(found.contains(name)) << where << "." << name;
      expect_contains(found[name], value, where + "." + name);
    }
  } else if (wanted.is_array()) {
    ASSERT_TRUE(found.is_array()) << where;
    ASSERT_EQ(found.size(), wanted.size()) << where;
    for (size_t i = 0; i < wanted.size(); ++i)
      expect_contains(found[i], wanted[i], where + "[" + std::to_string(i) + "]");
  } else {
    EXPECT_EQ(found, wanted) << where;
  }
}

Report decode_fixture() {
  auto image = ImageFile::open(kFixture + ".elf.zst", {});
  EXPECT_TRUE(image.has_value()) << to_string(image.error());
  return decode(image->memory(), options_for(*image));
}

TEST(Golden, JsonOfALinuxImageHasEveryExpectedField) {
  const json wanted = json::parse(read_file(kFixture + ".json"));
  expect_contains(to_json(decode_fixture()), wanted, "");
}

TEST(Golden, ALinuxImageHasNoProblems) {
  const Report report = decode_fixture();
  EXPECT_EQ(report.findings.problems(), 0u) << render_text(report, {});
  EXPECT_EQ(report.fdt_found_by, "search");
}

TEST(Golden, TextOfALinuxImage) {
  expect_golden("linux-7.3-luo-multi.txt", render_text(decode_fixture(), {.name = "linux-7.3-luo-multi.elf.zst"}));
}

TEST(Golden, TextOfTheWorkedExample) {
  Decoded decoded(WorkedExample().core());
  expect_golden("worked_example.txt", render_text(decoded.report, {.name = "worked example"}));
}

TEST(Golden, TextAndJsonOfIommuState) {
  using Mode = IommuExample::Mode;
  for (const auto& [mode, name] : {std::pair(Mode::kLegacy, "legacy"), std::pair(Mode::kScalable, "scalable")}) {
    const std::string file = std::string("iommu-") + name;
    Decoded whole(IommuExample(mode).core());
    expect_golden(file + ".txt", render_text(whole.report, {.name = file}));
    Decoded device(IommuExample(mode).core(), {}, Bdf(0, 1, 0));
    expect_golden(file + "-device.txt", render_text(device.report, {.name = file}));
    const json all = to_json(device.report);
    expect_golden(file + ".json", json{{"iommu", all["iommu"]}, {"translation", all["translation"]}}.dump(1) + "\n");
  }
}

TEST(Golden, TextOfADamagedImage) {
  WorkedExample image;
  auto ser = image.get<luo::abi::Ser>(WorkedExample::kLuo);
  image.put(WorkedExample::kSessions, kho::abi::BlockHeader{0x109000, 1});
  image.put(0x109000, kho::abi::BlockHeader{0, 0});
  ser.liveupdate_num = 0;
  image.put(WorkedExample::kLuo, ser);
  image.put(WorkedExample::kFolios + 16, memfd::abi::make_folio(0x400, 0));
  image.unpreserve(WorkedExample::kSecondFolio, 0);
  image.preserve(0x240000, 3);
  Decoded decoded(image.core());
  expect_golden("damaged.txt", render_text(decoded.report, {.name = "damaged"}));
}

TEST(Render, SizesAndSealsAreReadable) {
  EXPECT_EQ(human_size(0), "0 bytes");
  EXPECT_EQ(human_size(1), "1 byte");
  EXPECT_EQ(human_size(4096), "4 KiB");
  EXPECT_EQ(human_size(MiB(2) + KiB(512)), "2.5 MiB");
  EXPECT_EQ(human_size(~uint64_t{0}), "16.0 EiB");
  EXPECT_EQ(seal_names(0), "none");
  EXPECT_EQ(seal_names(0xb), "SEAL|SHRINK|WRITE");
  EXPECT_EQ(seal_names(0x81), "SEAL|0x80");
}

TEST(Render, ControlCharactersAndBrokenUtf8AreEscaped) {
  EXPECT_EQ(printable("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(printable("gr\xc3\xbcn"), "gr\xc3\xbcn");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b") << "a control character beyond ASCII";
}

TEST(Render, JsonOfAnImageWithoutAHandover) {
  Decoded decoded(std::vector<std::byte>(kPageSize * 4));
  const json report = to_json(decoded.report);
  EXPECT_FALSE(report["ok"]);
  EXPECT_TRUE(report["fdt_phys"].is_null());
  EXPECT_TRUE(report["luo"].is_null());
  EXPECT_EQ(report["problems"][0]["rule"], "fdt.none");
}

}  // namespace
}  // namespace causeway::inspect
