// Random damage to a good image: the reader ends, does not crash, and what it accepts keeps the rules.
#include <gtest/gtest.h>

#include <random>

#include "base/log.h"
#include "kho/testing/image_builder.h"

namespace causeway::kho {
namespace {

// The rules of image.h, checked the slow way: an owner for every page frame.
void expect_rules(const Image& image) {
  enum Owner : uint8_t { kNobody, kBlock, kNode, kScratch };
  std::vector<Owner> owner(ImageBuilder::kRam / kPageSize, kNobody);
  auto take = [&](Pfn pfn, uint64_t count, Owner who) {
    for (uint64_t i = pfn.value(); i < pfn.value() + count; ++i) {
      ASSERT_LT(i, owner.size());
      ASSERT_EQ(owner[i], kNobody) << "frame " << i;
      owner[i] = who;
    }
  };
  for (const Block& block : image.blocks()) {
    ASSERT_TRUE(block.pfn.is_aligned(block.order));
    ASSERT_LE(block.order.value(), 14u);
    take(block.pfn, block.order.pages(), kBlock);
  }
  for (PhysAddr node : image.nodes()) {
    ASSERT_TRUE(node.is_aligned(kPageSize));
    take(Pfn::containing(node), 1, kNode);
  }
  ASSERT_GE(image.scratch().size(), 1u);
  for (const mm::MemRange& area : image.scratch()) {
    ASSERT_TRUE(area.base.is_aligned(kPageSize) && is_aligned(area.size, kPageSize) && area.size > 0);
    take(Pfn::containing(area.base), area.size / kPageSize, kScratch);
  }
  const Owner of_fdt = owner.at(Pfn::containing(image.fdt()).value());
  ASSERT_TRUE(of_fdt == kNobody || of_fdt == kBlock);
  ASSERT_TRUE(std::is_sorted(image.blocks().begin(), image.blocks().end(),
                             [](const Block& a, const Block& b) { return a.pfn < b.pfn; }));
}

class Damage {
 public:
  Damage(ImageBuilder& builder, uint64_t seed)
      : memory_(builder.memory), pages_(builder.metadata_pages()), random_(seed) {}

  void damage_one() {
    // Half the hits go where something is, so that they matter.
    uint64_t address = pick().value() + random_() % (kPageSize / 8) * 8;
    for (int tries = 0; tries < 200 && random_() % 2 != 0 && memory_.word(address) == 0; ++tries)
      address = pick().value() + random_() % (kPageSize / 8) * 8;
    switch (random_() % 4) {
      case 0:
        memory_.as<uint8_t>(address + random_() % 8) ^= static_cast<uint8_t>(1u << random_() % 8);
        break;
      case 1:
        memory_.as<uint8_t>(address + random_() % 8) = static_cast<uint8_t>(random_());
        break;
      case 2:
        memory_.word(address) = interesting();
        break;
      case 3:
        memory_.word(address) = memory_.word(pick().value() + random_() % (kPageSize / 8) * 8);
        break;
    }
  }
  void damage(platform::Handover& handover) {
    switch (random_() % 4) {
      case 0:
        handover.fdt_addr = PhysAddr(interesting());
        break;
      case 1:
        handover.fdt_size = interesting();
        break;
      case 2:
        handover.scratch_addr = PhysAddr(interesting());
        break;
      case 3:
        handover.scratch_size = interesting();
        break;
    }
  }
  uint64_t random() { return random_(); }

 private:
  PhysAddr pick() { return pages_[random_() % pages_.size()]; }
  uint64_t interesting() {
    switch (random_() % 8) {
      case 0:
        return 0;
      case 1:
        return ~uint64_t{0};
      case 2:
        return pick().value();
      case 3:
        return pick().value() + random_() % kPageSize;
      case 4:
        return random_() % (2 * ImageBuilder::kRam) & kPageMask;
      case 5:
        return random_() % kPageSize;
      case 6:
        return uint64_t{1} << random_() % 64;
      default:
        return random_();
    }
  }
  BufferMemory& memory_;
  std::vector<PhysAddr> pages_;
  std::mt19937_64 random_;
};

class ImageCorruption : public ::testing::TestWithParam<Format> {
 protected:
  void SetUp() override { log::set_level(log::Level::kError); }
  void TearDown() override { log::set_level(log::Level::kInfo); }
};

TEST_P(ImageCorruption, NeverCrashesEndsAndKeepsTheRules) {
  ImageBuilder builder(GetParam());
  for (uint64_t i = 0; i < 40; ++i) builder.preserve({Pfn(0x300 + i), kOrder0});
  for (unsigned order = 1; order < 8; ++order) {
    builder.preserve(
        {Pfn(0x400 + order * 0x80), Order(order), order % 2 == 0 ? PageType::kSplit : PageType::kContig});
  }
  builder.preserve({Pfn(0x2800), Order(9)});
  ASSERT_TRUE(builder.fdt->add_subtree("LUO", PhysAddr(0x300000), 32).has_value());
  const platform::Handover good = builder.finish();
  ASSERT_TRUE(Image::read(builder.memory, good).has_value());

  const std::vector<PhysAddr> pages = builder.metadata_pages();
  std::vector<std::byte> pristine;
  for (PhysAddr page : pages)
    pristine.insert(pristine.end(), builder.memory.to_virt(page), builder.memory.to_virt(page) + kPageSize);

  Damage damage(builder, 42);
  int accepted = 0;
  constexpr int kIterations = 10000;  // per format
  for (int i = 0; i < kIterations; ++i) {
    for (uint64_t n = 1 + damage.random() % 4; n > 0; --n) damage.damage_one();
    platform::Handover handover = good;
    if (damage.random() % 8 == 0) damage.damage(handover);
    auto image = Image::read(builder.memory, handover);
    if (image.has_value()) {
      ++accepted;
      expect_rules(*image);
      (void)image->subtree("LUO");
      if (HasFatalFailure()) FAIL() << "iteration " << i;
    }
    for (size_t p = 0; p < pages.size(); ++p)
      std::memcpy(builder.memory.to_virt(pages[p]), pristine.data() + p * kPageSize, kPageSize);
  }
  // Damage to an unused byte is none; damage that is always noticed would be luck of the generator.
  EXPECT_GT(accepted, kIterations / 100);
  EXPECT_LT(accepted, kIterations);
  EXPECT_TRUE(Image::read(builder.memory, good).has_value());
}

INSTANTIATE_TEST_SUITE_P(Formats, ImageCorruption, ::testing::Values(Format::kV4, Format::kTyped),
                         [](const auto& format) { return format.param == Format::kV4 ? "v4" : "typed"; });

}  // namespace
}  // namespace causeway::kho
