#include "kho/image.h"

#include <gtest/gtest.h>
#include <libfdt.h>

#include <algorithm>

#include "base/log.h"
#include "kho/testing/image_builder.h"

namespace causeway::kho {
namespace {

Block order0(uint64_t pfn) {
  return {Pfn(pfn), kOrder0};
}

class ImageReader : public ::testing::Test {
 protected:
  // Expects a refusal whose rule contains `rule`.
  void expect_refused(const platform::Handover& handover, const char* rule) {
    log::Capture capture;
    auto image = Image::read(builder_.memory, handover);
    ASSERT_FALSE(image.has_value()) << rule;
    EXPECT_NE(std::string(image.error().message).find(rule), std::string::npos)
        << image.error().message << ", want " << rule;
    EXPECT_TRUE(capture.contains(rule));
  }
  // The page that the entry at `index` of a node names.
  uint64_t& entry(PhysAddr node, unsigned index) {
    return builder_.memory.as<abi::RadixNode>(node.value()).child[index];
  }
  PhysAddr root() { return builder_.tree->root(); }

  ImageBuilder builder_{Format::kV4};
};

// The complete small image of the specification, section 2.9: our writer makes it, our reader reads it.
TEST(WorkedExample, OurTreeIsTheSpecificationsToTheByte) {
  BufferMemory memory(MiB(68), MiB(192));
  memory.allocate_from(PhysAddr(0x10a000));
  auto tree = *RadixTree::create(memory, Format::kV4);
  for (uint64_t pfn = 0x100; pfn <= 0x108; ++pfn)
    ASSERT_TRUE(tree->add(encode_key(order0(pfn), Format::kV4)).has_value());
  ASSERT_TRUE(tree->add(encode_key(order0(0x400), Format::kV4)).has_value());
  ASSERT_TRUE(tree->add(encode_key({Pfn(0x200), Order(9)}, Format::kV4)).has_value());

  EXPECT_EQ(tree->root(), PhysAddr(0x10a000));
  struct Word {
    uint64_t phys, value;
  };
  const Word words[] = {
      {0x10a000 + 2 * 8, 0x10b000},
      {0x10a000, 0x110000},
      {0x10b000, 0x10c000},
      {0x10c000, 0x10d000},
      {0x10d000, 0x10e000},
      {0x10e000, 0x10f000},
      {0x10f000 + 0x20, 0x01ff},
      {0x10f000 + 0x80, 1},
      {0x110000 + 2 * 8, 0x111000},
      {0x111000, 0x112000},
      {0x112000, 0x113000},
      {0x113000, 0x114000},
      {0x114000, 2},
  };
  for (uint64_t phys = 0x10a000; phys < 0x115000; phys += 8) {
    const auto* want =
        std::find_if(std::begin(words), std::end(words), [&](const Word& w) { return w.phys == phys; });
    ASSERT_EQ(memory.word(phys), want == std::end(words) ? 0 : want->value) << std::hex << phys;
  }

  auto fdt = *RootFdt::create(abi::kCompatible, tree->root());
  ASSERT_TRUE(fdt.add_subtree("kexec-metadata", PhysAddr(0x101000), 73).has_value());
  ASSERT_TRUE(fdt.add_subtree("LUO", PhysAddr(0x102000), 32).has_value());
  std::memcpy(memory.to_virt(PhysAddr(0x100000)), fdt.bytes().data(), fdt.bytes().size());
  memory.as<abi::ScratchEntry>(0x4000000) = {0x4000000, 0x4000000};
  memory.as<abi::ScratchEntry>(0x4000010) = {0x8000000, 0x4000000};

  auto image = Image::read(memory, {.fdt_addr = PhysAddr(0x100000),
                                    .fdt_size = kPageSize,
                                    .scratch_addr = PhysAddr(0x4000000),
                                    .scratch_size = 32});
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(image->format(), Format::kV4);
  std::vector<Block> blocks;
  for (uint64_t pfn = 0x100; pfn <= 0x108; ++pfn) blocks.push_back(order0(pfn));
  blocks.push_back({Pfn(0x200), Order(9)});
  blocks.push_back(order0(0x400));
  EXPECT_EQ(image->blocks(), blocks);
  EXPECT_EQ(image->nodes().size(), 11u);
  EXPECT_EQ(image->nodes().front(), PhysAddr(0x10a000));
  EXPECT_EQ(image->scratch(),
            (std::vector<mm::MemRange>{{PhysAddr(0x4000000), 0x4000000}, {PhysAddr(0x8000000), 0x4000000}}));
  EXPECT_EQ(image->subtree("LUO")->phys, PhysAddr(0x102000));
  EXPECT_EQ(image->subtree("kexec-metadata")->size, 73u);
  EXPECT_EQ(image->subtrees().size(), 2u);
}

TEST_F(ImageReader, BlocksComeAscendingByAddressWhateverTheOrder) {
  const std::vector<Block> blocks = {order0(0x300), {Pfn(0x304), Order(2)},
                                     order0(0x308), {Pfn(0x310), Order(4)},
                                     order0(0x340), {Pfn(0x1000), Order(10)}};
  for (const Block& block : blocks) builder_.preserve(block);
  auto image = Image::read(builder_.memory, builder_.finish());
  ASSERT_TRUE(image.has_value());
  std::vector<Block> expected = blocks;
  expected.insert(expected.begin(), order0(0x100));
  std::sort(expected.begin(), expected.end(), [](const Block& a, const Block& b) { return a.pfn < b.pfn; });
  EXPECT_EQ(image->blocks(), expected);
  EXPECT_EQ(image->block_at(Pfn(0x306)), &image->blocks()[2]);
  EXPECT_EQ(image->block_at(Pfn(0x309)), nullptr);
}

TEST_F(ImageReader, PreservedMeansEveryByte) {
  builder_.preserve({Pfn(0x304), Order(2)});
  builder_.preserve(order0(0x308));
  auto image = *Image::read(builder_.memory, builder_.finish());
  EXPECT_TRUE(image.is_preserved(PhysAddr(0x304123), 0x4000));
  EXPECT_TRUE(image.is_preserved(PhysAddr(0x308fff), 1));
  EXPECT_FALSE(image.is_preserved(PhysAddr(0x308fff), 2));
  EXPECT_FALSE(image.is_preserved(PhysAddr(0x303fff), 2));
  EXPECT_FALSE(image.is_preserved(PhysAddr(0x304000), 0));
  EXPECT_FALSE(image.is_preserved(PhysAddr(0x304000), ~uint64_t{0}));
}

TEST(TypedImage, TypesSurviveTheTree) {
  ImageBuilder builder(Format::kTyped);
  const std::vector<Block> blocks = {{Pfn(0x304), Order(2), PageType::kSplit},
                                     {Pfn(0x308), Order(2), PageType::kContig}};
  for (const Block& block : blocks) builder.preserve(block);
  auto image = Image::read(builder.memory, builder.finish());
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(image->format(), Format::kTyped);
  EXPECT_EQ(std::vector<Block>(image->blocks().begin() + 1, image->blocks().end()), blocks);
}

TEST(TypedImage, OneBlockUnderBothTypesIsRefused) {
  log::Capture capture;
  ImageBuilder builder(Format::kTyped);
  builder.preserve({Pfn(0x304), Order(2), PageType::kSplit});
  builder.preserve({Pfn(0x304), Order(2), PageType::kContig});
  EXPECT_FALSE(Image::read(builder.memory, builder.finish()).has_value());
  EXPECT_TRUE(capture.contains("blocks overlap"));
}

TEST(TypedImage, ATypedKeyInAKhoV4ImageIsRefused) {
  log::Capture capture;
  ImageBuilder builder(Format::kTyped);
  builder.preserve({Pfn(0x304), Order(2), PageType::kSplit});
  builder.fdt = *RootFdt::create(abi::kCompatible, builder.tree->root());
  EXPECT_FALSE(Image::read(builder.memory, builder.finish()).has_value());
  EXPECT_TRUE(capture.contains("key does not decode"));
}

TEST_F(ImageReader, FdtRules) {
  platform::Handover good = builder_.finish(), bad = good;
  bad.fdt_addr = PhysAddr(MiB(1) + 8);
  expect_refused(bad, "fdt: not page aligned");
  bad.fdt_addr = PhysAddr(0);
  expect_refused(bad, "fdt: not page aligned");
  for (uint64_t size : {uint64_t{0}, uint64_t{39}, kPageSize + 1, ~uint64_t{0}}) {
    bad = good;
    bad.fdt_size = size;
    expect_refused(bad, "fdt: size outside one page");
  }
  bad = good;
  bad.fdt_addr = PhysAddr(~uint64_t{0} & kPageMask);
  expect_refused(bad, "fdt: not RAM");
  bad = good;
  bad.fdt_size = 64;  // smaller than the tree says it is
  expect_refused(bad, "fdt: damaged");
  builder_.memory.as<uint32_t>(MiB(1)) ^= 1;
  expect_refused(good, "fdt: damaged");
}

TEST_F(ImageReader, UnknownCompatibleIsEproto) {
  log::Capture capture;
  for (const char* name : {"kho-v3", "kho-v40", "kho-v", ""}) {
    builder_.fdt = *RootFdt::create(name, root());
    auto image = Image::read(builder_.memory, builder_.finish());
    ASSERT_FALSE(image.has_value()) << name;
    EXPECT_EQ(image.error().code, Errno{EPROTO});
  }
  EXPECT_TRUE(capture.contains("want \"kho-v4\""));
}

TEST_F(ImageReader, MemoryMapRules) {
  for (uint64_t value : {uint64_t{0}, uint64_t{0x1001}}) {
    ASSERT_TRUE(builder_.fdt->set_tree_root(PhysAddr(value)).has_value());
    expect_refused(builder_.finish(), "preserved-memory-map not page aligned");
  }
  ASSERT_TRUE(builder_.fdt->set_tree_root(PhysAddr(GiB(1))).has_value());
  expect_refused(builder_.finish(), "tree: node not in RAM");
  const platform::Handover handover = builder_.finish();
  void* fdt = builder_.memory.to_virt(ImageBuilder::kFdt);
  ASSERT_EQ(fdt_open_into(fdt, fdt, kPageSize), 0);
  ASSERT_EQ(fdt_setprop_u32(fdt, 0, abi::kPropMemoryMap, 7), 0);
  expect_refused(handover, "preserved-memory-map missing or not 8 bytes");
  ASSERT_EQ(fdt_delprop(fdt, 0, abi::kPropMemoryMap), 0);
  expect_refused(handover, "preserved-memory-map missing or not 8 bytes");
}

TEST_F(ImageReader, NodeRules) {
  builder_.preserve(order0(0x300));
  const platform::Handover handover = builder_.finish();
  const uint64_t good = entry(root(), 2);
  entry(root(), 2) = good + 8;
  expect_refused(handover, "tree: node not page aligned");
  entry(root(), 2) = GiB(8);
  expect_refused(handover, "tree: node not in RAM");
  entry(root(), 2) = root().value();
  expect_refused(handover, "tree: node reached twice");
  entry(root(), 2) = good;
  entry(root(), 3) = good;
  expect_refused(handover, "tree: node reached twice");
}

TEST_F(ImageReader, ATreeThatSharesAllItsNodesEndsAtOnce) {
  // 512^5 paths to one leaf, were they followed.
  std::vector<PhysAddr> chain;
  for (int i = 0; i < 6; ++i) chain.push_back(*builder_.memory.alloc_zeroed_page());
  for (int i = 0; i < 5; ++i)
    for (unsigned k = 0; k < abi::kTableEntries; ++k) entry(chain[i], k) = chain[i + 1].value();
  ASSERT_TRUE(builder_.fdt->set_tree_root(chain[0]).has_value());
  expect_refused(builder_.finish(), "tree: ");
}

TEST_F(ImageReader, KeyRules) {
  // A bit in root[4] would be a key of 54 bits.
  const platform::Handover handover = builder_.finish();
  std::swap(entry(root(), 4), entry(root(), 2));
  expect_refused(handover, "tree: key does not decode");
}

TEST_F(ImageReader, BlockRules) {
  builder_.preserve({Pfn(0x4000), Order(0)});  // 64 MiB: one page beyond RAM
  expect_refused(builder_.finish(), "tree: block not in RAM");
}

TEST_F(ImageReader, ABlockLargerThanAllOfMemoryIsRefused) {
  ASSERT_TRUE(builder_.tree->add(1).has_value());  // order 52: 2^64 bytes
  expect_refused(builder_.finish(), "tree: block not in RAM");
}

TEST_F(ImageReader, OverlapRules) {
  auto refused_with = [&](const Block& extra, const char* rule) {
    ASSERT_TRUE(builder_.tree->add(encode_key(extra, Format::kV4)).has_value());
    expect_refused(builder_.finish(), rule);
    ASSERT_TRUE(builder_.tree->remove(encode_key(extra, Format::kV4)));
  };
  builder_.preserve({Pfn(0x300), Order(4)});
  refused_with(order0(0x307), "blocks overlap");
  refused_with({Pfn(0x300), Order(2)}, "blocks overlap");
  refused_with({Pfn(0x200), Order(9)}, "blocks overlap");
  refused_with({Pfn::containing(root()), kOrder0}, "a block holds a node");
  refused_with({Pfn::containing(ImageBuilder::kScratch) + 31, kOrder0}, "a block lies in scratch");
  refused_with({Pfn::containing(PhysAddr(MiB(32))), Order(10)}, "a block lies in scratch");
  EXPECT_TRUE(Image::read(builder_.memory, builder_.finish()).has_value());
}

TEST_F(ImageReader, TheFdtIsNeitherNodeNorScratch) {
  platform::Handover handover = builder_.finish();
  handover.fdt_addr = ImageBuilder::kScratch + KiB(64);
  std::memcpy(builder_.memory.to_virt(handover.fdt_addr), builder_.fdt->bytes().data(),
              builder_.fdt->bytes().size());
  expect_refused(handover, "fdt: it lies in scratch");
}

TEST_F(ImageReader, ANodeInScratchIsRefused) {
  const PhysAddr moved = ImageBuilder::kScratch + KiB(64);
  std::memcpy(builder_.memory.to_virt(moved), builder_.memory.to_virt(root()), kPageSize);
  ASSERT_TRUE(builder_.fdt->set_tree_root(moved).has_value());
  expect_refused(builder_.finish(), "a node lies in scratch");
}

TEST_F(ImageReader, ScratchRules) {
  const auto good = builder_.scratch;
  auto refused_with = [&](std::vector<mm::MemRange> areas, const char* rule) {
    builder_.scratch = std::move(areas);
    expect_refused(builder_.finish(), rule);
    builder_.scratch = good;
  };
  refused_with({good[0], {PhysAddr(MiB(32) + 1), MiB(4)}}, "area not page aligned");
  refused_with({good[0], {PhysAddr(MiB(32)), 100}}, "area not page aligned");
  refused_with({good[0], {PhysAddr(MiB(32)), 0}}, "area not page aligned, or empty");
  refused_with({good[0], {PhysAddr(MiB(62)), MiB(4)}}, "area not in RAM");
  refused_with({good[0], {PhysAddr(MiB(32)), ~uint64_t{0} & kPageMask}}, "area not in RAM");
  refused_with({good[0], {good[0].base + kPageSize, kPageSize}}, "areas overlap");
  refused_with({good[1]}, "the array lies in none of the areas");
  refused_with({}, "scratch: size of the array");

  platform::Handover bad = builder_.finish();
  bad.scratch_size = 24;
  expect_refused(bad, "scratch: size of the array");
  bad.scratch_size = 16 * (kMaxScratch + 1);
  expect_refused(bad, "scratch: size of the array");
  bad = builder_.finish();
  bad.scratch_addr = PhysAddr(~uint64_t{0} - 8);
  expect_refused(bad, "scratch: the array is not in RAM");
}

TEST_F(ImageReader, SubtreeErrors) {
  builder_.preserve(order0(0x300));
  ASSERT_TRUE(builder_.fdt->add_subtree("good", PhysAddr(0x300010), 32).has_value());
  ASSERT_TRUE(builder_.fdt->add_subtree("loose", PhysAddr(0x301000), 32).has_value());
  ASSERT_TRUE(builder_.fdt->add_subtree("long", PhysAddr(0x300000), kPageSize + 1).has_value());
  ASSERT_TRUE(builder_.fdt->add_subtree("sizeless", PhysAddr(0x300000), 8).has_value());
  const platform::Handover handover = builder_.finish();
  void* fdt = builder_.memory.to_virt(ImageBuilder::kFdt);
  ASSERT_EQ(fdt_open_into(fdt, fdt, kPageSize), 0);
  ASSERT_EQ(fdt_delprop(fdt, fdt_path_offset(fdt, "/sizeless"), abi::kPropSubtreeSize), 0);
  auto image = Image::read(builder_.memory, handover);
  ASSERT_TRUE(image.has_value());
  log::Capture capture;
  EXPECT_EQ(image->subtree("good")->phys, PhysAddr(0x300010));
  EXPECT_EQ(image->subtree("absent").error().code, Errno{ENOENT});
  EXPECT_EQ(image->subtree("").error().code, Errno{ENOENT});
  for (const char* name : {"loose", "long", "sizeless"})
    EXPECT_EQ(image->subtree(name).error().code, Errno{EINVAL}) << name;
  EXPECT_EQ(image->subtrees().size(), 3u);
}

}  // namespace
}  // namespace causeway::kho
