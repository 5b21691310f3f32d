// What is found in images that are whole, and in images broken on purpose: one rule each.
#include "inspect/decode.h"

#include <gtest/gtest.h>

#include "inspect/testing/decoding.h"
#include "inspect/testing/image_builder.h"

namespace causeway::inspect {
namespace {

using Example = WorkedExample;
using kho::abi::BlockHeader;

TEST(Decode, TheWorkedExampleIsLaidOutAsLinuxDoes) {
  Example image;
  EXPECT_EQ(image.fdt_bytes().size(), 0x11du);
  EXPECT_EQ(image.tree_root(), PhysAddr(0x10a000));
  EXPECT_EQ(image.get<uint64_t>(0x10a000 + 2 * 8), 0x10b000u);
  EXPECT_EQ(image.get<uint64_t>(0x10a000), 0x110000u);
  EXPECT_EQ(image.get<uint64_t>(0x110000 + 2 * 8), 0x111000u);
  EXPECT_EQ(image.get<uint16_t>(0x10f020), 0x01ff);
  EXPECT_EQ(image.get<uint8_t>(0x10f080), 0x01);
  EXPECT_EQ(image.get<uint8_t>(0x114000), 0x02);
  const uint8_t start[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0x15, 'k', 'h', 'o', '-', 'v', '4', 0};
  EXPECT_EQ(std::memcmp(image.fdt_bytes().data() + 0x38, start, sizeof start), 0);
  EXPECT_EQ(image.get<uint64_t>(Example::kFolios), 0x0030000000000200u);
}

TEST(Decode, TheWorkedExample) {
  for (const auto& bytes : {Example().core(), Example().raw()}) {
    Decoded decoded(bytes);
    const Report& report = decoded.report;
    EXPECT_EQ(report.findings.problems(), 0u) << decoded.rules();
    EXPECT_EQ(report.fdt_phys, PhysAddr(0x100000));
    EXPECT_EQ(report.map.nodes, 11u);
    EXPECT_EQ(report.map.leaves, 2u);
    EXPECT_EQ(report.map.blocks, 11u);
    EXPECT_EQ(report.map.bytes, MiB(2) + 10 * kPageSize);
    ASSERT_TRUE(report.kexec_metadata.has_value());
    EXPECT_EQ(report.kexec_metadata->previous_release, "7.3.4");
    ASSERT_TRUE(report.luo.has_value());
    ASSERT_EQ(report.luo->sessions.size(), 1u);
    EXPECT_EQ(report.luo->sessions[0].name, "vm0");
    const File& file = report.luo->sessions[0].files.at(0);
    EXPECT_EQ(file.token, 0x1au);
    EXPECT_EQ(file.memfd->pos, 5u);
    EXPECT_EQ(file.memfd->size, 0x201000u);
    ASSERT_EQ(file.memfd->runs.size(), 2u);
    EXPECT_EQ(file.memfd->runs[0].order, 9u);
    EXPECT_EQ(file.memfd->runs[1].index, 512u);
    EXPECT_EQ(file.memfd->folios[0].head, "the first page of vm0");
  }
}

// One change of the worked example, and the rule that it breaks.
struct Damage {
  const char* rule;
  const char* says;  // part of the sentence
  void (*inflict)(Example&);
};

class DecodeDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(DecodeDamage, IsFound) {
  Example image;
  GetParam().inflict(image);
  Decoded decoded(image.core(), PhysAddr(ImageBuilder::kFdt));
  ASSERT_TRUE(decoded.found(GetParam().rule)) << decoded.rules();
  EXPECT_NE(decoded.text(GetParam().rule).find(GetParam().says), std::string::npos) << decoded.text(GetParam().rule);
  EXPECT_GT(decoded.report.findings.problems(), 0u);
}

template <typename T, typename Change>
void change(Example& image, uint64_t at, Change change_it) {
  T value = image.get<T>(at);
  change_it(value);
  image.put(at, value);
}
void change_luo(Example& image, void (*change_it)(luo::abi::Ser&)) { change<luo::abi::Ser>(image, Example::kLuo, change_it); }
void change_session(Example& image, void (*change_it)(luo::abi::SessionSer&)) {
  change<luo::abi::SessionSer>(image, Example::kSessions + 16, change_it);
}
void change_file(Example& image, void (*change_it)(luo::abi::FileSer&)) {
  change<luo::abi::FileSer>(image, Example::kFiles + 16, change_it);
}
void change_memfd(Example& image, void (*change_it)(memfd::abi::Ser&)) {
  change<memfd::abi::Ser>(image, Example::kMemfd, change_it);
}

const Damage kDamages[] = {
    {"fdt.compatible", "lost silently", [](Example& i) { i.text(Example::kFdt + 0x38 + 20, "kho-v3"); }},
    {"fdt.over-page", "one page", [](Example& i) { i.put(Example::kFdt + 4, uint32_t{0x01200000}); }},
    {"fdt.damaged", "lost silently", [](Example& i) { i.put(Example::kFdt + 0x38, uint32_t{0x77777777}); }},
    {"fdt.not-in-image", "root FDT", [](Example& i) { i.erase(Example::kFdt); }},
    {"fdt.memory-map", "lost silently", [](Example& i) { i.put(Example::kFdt + 0x38 + 40, uint64_t{0}); }},
    {"fdt.not-preserved", "root FDT", [](Example& i) { i.unpreserve(Example::kFdt, 0); }},
    {"tree.node-alignment", "level 0", [](Example& i) { i.put(0x10e000, uint64_t{0x10f008}); }},
    {"tree.node-missing", "level 0", [](Example& i) { i.put(0x10e000, uint64_t{0x900000}); }},
    {"tree.node-shared", "cycle", [](Example& i) { i.put(0x10e000 + 8, uint64_t{0x10a000}); }},
    {"tree.key", "bits",
     [](Example& i) {
       // A path whose level-5 index puts the top bit of its keys beyond the order bit of order 0.
       i.put(0x10a000 + 8 * 8, uint64_t{0x118000});
       for (uint64_t node = 0x118000; node < 0x11c000; node += kPageSize) i.put(node, node + kPageSize);
       i.put(0x11c000, uint64_t{1});
     }},
    {"tree.blocks-overlap", "order 9", [](Example& i) { i.preserve(0x210000, 2); }},
    {"tree.node-preserved", "overwrites", [](Example& i) { i.preserve(0x10f000, 0); }},
    {"image.not-preserved", "lost silently", [](Example& i) { i.unpreserve(Example::kMemfd, 0); }},
    {"image.page-shared", "cycle", [](Example& i) { i.put(Example::kFiles, BlockHeader{Example::kFiles, 1}); }},
    {"image.alignment", "page aligned", [](Example& i) { change_file(i, [](auto& f) { f.data += 8; }); }},
    {"image.null", "is 0", [](Example& i) { change_file(i, [](auto& f) { f.data = 0; }); }},
    {"chain.empty-block", "panics", [](Example& i) { i.put(Example::kSessions, BlockHeader{0, 0}); }},
    {"chain.count", "panics", [](Example& i) { i.put(Example::kSessions, BlockHeader{0, 52}); }},
    {"luo.compatible", "panics", [](Example& i) { i.text(Example::kLuo, "luo-v4"); }},
    {"luo.compatible", "padded", [](Example& i) { i.put(Example::kLuo + 7, uint8_t{'x'}); }},
    {"luo.number", "want 1", [](Example& i) { change_luo(i, [](auto& l) { l.liveupdate_num = 0; }); }},
    {"luo.session-name", "terminated",
     [](Example& i) { change_session(i, [](auto& s) { std::memset(s.name, 'x', sizeof s.name); }); }},
    {"luo.file-count", "EIO", [](Example& i) { change_session(i, [](auto& s) { s.file_set.count = 2; }); }},
    {"luo.handler", "vfio-v1", [](Example& i) { change_file(i, [](auto& f) { std::strcpy(f.compatible, "vfio-v1"); }); }},
    {"luo.file-compatible", "terminated",
     [](Example& i) { change_file(i, [](auto& f) { std::memset(f.compatible, 'y', sizeof f.compatible); }); }},
    {"luo.duplicate-token", "0x1a",
     [](Example& i) {
       i.put(Example::kFiles, BlockHeader{0, 2});
       i.put(Example::kFiles + 80, i.get<luo::abi::FileSer>(Example::kFiles + 16));
     }},
    {"luo.duplicate-session", "vm0",
     [](Example& i) {
       i.put(Example::kSessions, BlockHeader{0, 2});
       auto again = i.get<luo::abi::SessionSer>(Example::kSessions + 16);
       again.file_set = {};
       i.put(Example::kSessions + 96, again);
     }},
    {"luo.flb-count", "beyond", [](Example& i) { i.put(Example::kFlbs + 8, uint64_t{64}); }},
    {"memfd.seals", "EOPNOTSUPP", [](Example& i) { change_memfd(i, [](auto& m) { m.seals = 0x41; }); }},
    {"memfd.flags", "want 0", [](Example& i) { change_memfd(i, [](auto& m) { m.flags = 1; }); }},
    {"memfd.size", "more than", [](Example& i) { change_memfd(i, [](auto& m) { m.size = ~uint64_t{0}; }); }},
    {"memfd.folio-count", "past the array", [](Example& i) { change_memfd(i, [](auto& m) { m.nr_folios = 257; }); }},
    {"memfd.folios-missing", "zeros", [](Example& i) { change_memfd(i, [](auto& m) { m.nr_folios = 1; }); }},
    {"memfd.folio-index", "beyond", [](Example& i) { i.put(Example::kFolios + 24, uint64_t{513}); }},
    {"memfd.folio-order", "duplicate", [](Example& i) { i.put(Example::kFolios + 24, uint64_t{511}); }},
    {"memfd.folio-alignment", "multiple", [](Example& i) { i.put(Example::kFolios + 8, uint64_t{1}); }},
    {"memfd.folio-inside", "EIO", [](Example& i) { i.put(Example::kFolios, memfd::abi::make_folio(0x208, 0)); }},
    {"memfd.folio-not-preserved", "lost silently", [](Example& i) { i.unpreserve(Example::kSecondFolio, 0); }},
    {"memfd.folio-shared", "more than once",
     [](Example& i) { i.put(Example::kFolios + 16, memfd::abi::make_folio(0x200, 512)); }},
    {"memfd.folio-flags", "want 0x3", [](Example& i) { i.put(Example::kFolios, uint64_t{0x200}); }},
    {"vmalloc.too-few", "want 2",
     [](Example& i) { change_memfd(i, [](auto& m) { m.folios.total_pages = 2; }); }},
    {"vmalloc.too-many", "more than the 1", [](Example& i) { i.put(Example::kChunk + 16, uint64_t{0x109000}); }},
    {"vmalloc.total-pages", "order 40", [](Example& i) { change_memfd(i, [](auto& m) { m.folios.order = 40; }); }},
    {"vmalloc.flags", "0x8", [](Example& i) { change_memfd(i, [](auto& m) { m.folios.flags = 8; }); }},
    {"metadata.version", "ignores", [](Example& i) { i.put(Example::kMetadata, uint32_t{2}); }},
    {"metadata.release", "terminated",
     [](Example& i) { i.text(Example::kMetadata + 4, std::string(65, 'r')); }},
};
INSTANTIATE_TEST_SUITE_P(Rules, DecodeDamage, ::testing::ValuesIn(kDamages), [](const auto& tested) {
  std::string name = std::to_string(tested.index) + "_" + tested.param.rule;
  std::replace_if(name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
});

TEST(Decode, ABlobTooSmallForLuoPanicsTheKernel) {
  ImageBuilder image;
  image.preserve(ImageBuilder::kFdt, 0);
  image.preserve(0x102000, 0);
  image.page(0x102000);
  image.subtree("LUO", 0x102000, 31);
  Decoded decoded(image.core());
  EXPECT_NE(decoded.text("luo.blob-size").find("panics at boot"), std::string::npos) << decoded.rules();
}

TEST(Decode, AnEmptySessionBlockAtTheEndOfTheChainPanicsTheKernel) {
  Example image;
  image.put(Example::kSessions, BlockHeader{0x109000, 1});
  image.put(0x109000, BlockHeader{0, 0});
  image.preserve(0x109000, 0);
  Decoded decoded(image.core());
  EXPECT_NE(decoded.text("chain.empty-block").find("end of its chain: Linux 7.3 panics"), std::string::npos);
  EXPECT_EQ(decoded.report.luo->sessions.size(), 1u) << "what can be read is shown";
}

TEST(Decode, AVmallocAreaOf511PagesMayEndInAnEmptyChunk) {
  Example image;
  image.put(Example::kChunk, uint64_t{0x109000});
  image.page(0x109000);
  image.preserve(0x109000, 0);
  Decoded decoded(image.core());
  EXPECT_EQ(decoded.report.findings.problems(), 0u) << decoded.rules();
}

TEST(Decode, ContentsLeftOutOfAnImageAreNoProblem) {
  Example image;
  image.erase(Example::kFirstFolio);
  image.erase(Example::kMetadata);
  Decoded decoded(image.core());
  EXPECT_EQ(decoded.report.findings.problems(), 0u) << decoded.rules();
  EXPECT_TRUE(decoded.found("image.not-in-image"));
  EXPECT_FALSE(decoded.report.luo->sessions[0].files[0].memfd->folios[0].head.has_value());
}

TEST(Decode, ARawImageKnowsWhatIsRam) {
  Example image;
  image.preserve(GiB(1), 0);
  EXPECT_TRUE(Decoded(image.raw()).found("tree.block-not-ram"));
  EXPECT_FALSE(Decoded(image.core()).found("tree.block-not-ram"));
}

TEST(Decode, TheTypedFormatTellsSplitBlocksApart) {
  ImageBuilder image(kho::Format::kTyped);
  image.preserve(ImageBuilder::kFdt, 0);
  image.preserve(0x200000, 3, kho::PageType::kSplit);
  image.preserve(0x208000, 3);
  image.write_fdt();
  Decoded decoded(image.core());
  EXPECT_EQ(decoded.report.findings.problems(), 0u) << decoded.rules();
  EXPECT_EQ(decoded.report.map.split, 1u);
  EXPECT_EQ(decoded.report.map.by_order[3], 2u);

  image.preserve(0x200000, 3);
  EXPECT_TRUE(Decoded(image.core()).found("tree.blocks-overlap")) << "one block with both types";
}

TEST(Decode, OfSeveralRootsTheOneWhoseMapDecodesIsTaken) {
  Example image;
  // A copy of the FDT at a lower address, left over from a kernel whose tree is gone.
  image.page(0x50000) = image.page(Example::kFdt);
  image.put(0x50000 + 0x38 + 40, uint64_t{0x900000});
  Decoded decoded(image.core());
  ASSERT_EQ(decoded.report.candidates.size(), 2u);
  EXPECT_EQ(decoded.report.fdt_phys, PhysAddr(Example::kFdt));
  EXPECT_FALSE(decoded.report.candidates[1].intact);
}

TEST(Decode, FoliosBeyondTheLimitAreCountedNotListed) {
  const auto bytes = Example().core();
  auto file = ImageFile::from_bytes(bytes);
  Options options = options_for(*file);
  options.max_folios_per_file = 1;
  const Report report = decode(file->memory(), options);
  const Memfd& memfd = *report.luo->sessions[0].files[0].memfd;
  EXPECT_EQ(memfd.folios.size(), 1u);
  EXPECT_EQ(memfd.folios_omitted, 1u);
  EXPECT_EQ(memfd.runs.size(), 2u);
}

TEST(Decode, FindingsBeyondTheLimitAreCounted) {
  Example image;
  for (uint64_t page = 0; page < 64; ++page) image.preserve(0x200000 + page * kPageSize, 0);
  const auto bytes = image.core();
  auto file = ImageFile::from_bytes(bytes);
  Options options = options_for(*file);
  options.max_findings = 10;
  const Report report = decode(file->memory(), options);
  EXPECT_EQ(report.findings.list().size(), 10u);
  // One for each page, and one for the folio that is a page now: the file is no longer covered.
  EXPECT_EQ(report.findings.problems(), 65u);
  EXPECT_EQ(report.findings.dropped(), 55u);
}

}  // namespace
}  // namespace causeway::inspect
