// A dump written and read back says the same as the memory it was made from.
#include "inspect/core_writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "inspect/render.h"
#include "inspect/testing/decoding.h"
#include "inspect/testing/driver_example.h"
#include "inspect/testing/image_builder.h"

namespace causeway::inspect {
namespace {

constexpr uint64_t kScratch = 0x50000;

struct Dump {
  explicit Dump(const Memory& memory, CoreContents contents, CoreSource source = {}) {
    fd.reset(::memfd_create("dump", MFD_CLOEXEC));
    source.fdt = PhysAddr(ImageBuilder::kFdt);
    auto written = write_core(memory, source, fd.get(), contents);
    EXPECT_TRUE(written.has_value()) << to_string(written.error());
    summary = *written;
    auto opened = ImageFile::open(fmt::format("/proc/self/fd/{}", fd.get()), {});
    EXPECT_TRUE(opened.has_value()) << to_string(opened.error());
    image.emplace(std::move(*opened));
    report = decode(image->memory(), options_for(*image));
  }
  UniqueFd fd;
  CoreSummary summary;
  std::optional<ImageFile> image;
  Report report;
};

// What does not depend on the file it comes from, nor on contents if they are left out.
nlohmann::json essence(const Report& report, bool with_heads) {
  nlohmann::json json = to_json(report);
  for (const char* field : {"file", "image_pages", "candidates", "fdt_found_by", "scratch", "notes"}) json.erase(field);
  if (!with_heads && json["luo"].is_object())
    for (auto& session : json["luo"]["sessions"])
      for (auto& file : session["files"])
        for (auto& folio : file["memfd"]["folios"]) folio.erase("head");
  return json;
}

TEST(CoreWriter, EverythingComesBack) {
  Decoded original(WorkedExample().raw());
  Dump dump(original.file->memory(), CoreContents::kEverything);
  EXPECT_EQ(dump.report.fdt_found_by, "note");
  EXPECT_EQ(dump.report.findings.problems(), 0u) << render_text(dump.report, {});
  EXPECT_EQ(essence(dump.report, true), essence(original.report, true));
  EXPECT_EQ(dump.image->memory().content_bytes(), MiB(2) + (10 + 11) * kPageSize);
}

TEST(CoreWriter, MetadataAloneHasTheSameStructure) {
  Decoded original(WorkedExample().raw());
  Dump dump(original.file->memory(), CoreContents::kMetadataOnly);
  EXPECT_TRUE(dump.report.metadata_only);
  EXPECT_EQ(dump.report.findings.problems(), 0u) << render_text(dump.report, {});
  EXPECT_EQ(essence(dump.report, false), essence(original.report, false));
  EXPECT_EQ(dump.image->memory().content_bytes(), (9 + 11) * kPageSize);
  EXPECT_TRUE(dump.image->memory().is_ram(PhysAddr(WorkedExample::kFirstFolio), MiB(2)));
  EXPECT_EQ(dump.image->memory().at(PhysAddr(WorkedExample::kFirstFolio), 1), nullptr);
}

TEST(CoreWriter, DriversRecordsAreMetadata) {
  Decoded original(DriverExample(kho::Format::kTyped).core());
  Dump dump(original.file->memory(), CoreContents::kMetadataOnly);
  EXPECT_EQ(essence(dump.report, false), essence(original.report, false));
}

TEST(CoreWriter, PagesOfZerosAreHoles) {
  Decoded original(WorkedExample().raw());
  Dump dump(original.file->memory(), CoreContents::kEverything);
  EXPECT_GT(dump.summary.file_bytes, MiB(2));
  EXPECT_LT(dump.summary.written_bytes, KiB(128));
  struct stat status {};
  ::fstat(dump.fd.get(), &status);
  EXPECT_LT(status.st_blocks * 512, static_cast<int64_t>(KiB(256)));
}

TEST(CoreWriter, TheNoteTellsScratchReleaseAndRam) {
  WorkedExample example;
  example.put(kScratch, kho::abi::ScratchEntry{kScratch, kPageSize});
  Decoded original(example.raw());
  CoreSource source{.scratch_addr = PhysAddr(kScratch), .scratch_size = 16, .generation = 4, .release = "7.3.4-x",
                    .ram = {{PhysAddr(0), MiB(4)}}};
  Dump dump(original.file->memory(), CoreContents::kEverything, source);
  EXPECT_EQ(dump.image->hints().release, "7.3.4-x");
  EXPECT_EQ(dump.image->hints().generation, 4u);
  ASSERT_EQ(dump.report.scratch.size(), 1u);
  EXPECT_EQ(dump.report.scratch[0].base, PhysAddr(kScratch));
  // The last page of the file lies at 4 MiB.
  EXPECT_EQ(dump.report.findings.problems(), 1u);
  EXPECT_STREQ(dump.report.findings.list()[0].rule, "tree.block-not-ram");
}

TEST(CoreWriter, MoreSegmentsThanAnElfHeaderCounts) {
  WorkedExample example;
  for (uint64_t i = 0; i < 70'000; ++i) example.preserve(GiB(1) + i * 2 * kPageSize, 0);
  Decoded original(example.core());
  Dump dump(original.file->memory(), CoreContents::kMetadataOnly);
  EXPECT_GT(dump.summary.segments, 70'000u);
  EXPECT_EQ(essence(dump.report, false), essence(original.report, false));
}

TEST(CoreWriter, ABlockInScratchIsFound) {
  WorkedExample example;
  example.put(kScratch, kho::abi::ScratchEntry{WorkedExample::kFirstFolio, MiB(1)});
  Decoded original(example.raw());
  Dump dump(original.file->memory(), CoreContents::kEverything,
            {.scratch_addr = PhysAddr(kScratch), .scratch_size = 16});
  EXPECT_EQ(dump.report.findings.problems(), 1u);
  EXPECT_STREQ(dump.report.findings.list()[0].rule, "tree.block-in-scratch");
}

TEST(CoreWriter, WithoutAnFdtThereIsNothingToWrite) {
  std::vector<std::byte> zeros(MiB(2));
  auto image = *ImageFile::from_bytes(zeros);
  UniqueFd fd(::memfd_create("dump", MFD_CLOEXEC));
  auto written = write_core(image.memory(), {.fdt = PhysAddr(0x100000)}, fd.get(), CoreContents::kEverything);
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, Errno{EINVAL});
}

}  // namespace
}  // namespace causeway::inspect
