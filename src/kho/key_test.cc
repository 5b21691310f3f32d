#include "kho/key.h"

#include <gtest/gtest.h>

#include <random>

#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"

namespace causeway::kho {
namespace {

Block block(uint64_t phys, unsigned order, PageType type = PageType::kContig) {
  return {Pfn::containing(PhysAddr(phys)), Order(order), type};
}

struct Golden {
  uint64_t phys;
  unsigned order;
  uint64_t key;
};
// The table of the specification, section 2.2.
constexpr Golden kGolden[] = {
    {0x7000, 0, 0x0010000000000007},        {0x101000, 0, 0x0010000000000101},
    {0x7ffff000, 0, 0x001000000007ffff},    {0x100000000, 0, 0x0010000000100000},
    {0x12345678000, 0, 0x0010000012345678}, {0x200000, 9, 0x0000080000000001},
    {0x100000000, 9, 0x0000080000000800},   {0x400000, 10, 0x0000040000000001},
    {0x40000000, 18, 0x0000000400000001},
};

TEST(Key, EncodesTheSpecificationsTable) {
  for (const Golden& golden : kGolden) {
    EXPECT_EQ(encode_key(block(golden.phys, golden.order), Format::kV4), golden.key);
    EXPECT_EQ(encode_key(block(golden.phys, golden.order), Format::kTyped), golden.key);
  }
}

TEST(Key, DecodesWhatItEncodes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const Order order(static_cast<unsigned>(random() % 53));
    const uint64_t frames = uint64_t{1} << 52;
    const Pfn pfn(random() % frames >> order.value() << order.value());
    const PageType type = order.value() > 0 && random() % 2 != 0 ? PageType::kSplit : PageType::kContig;
    const Block typed{pfn, order, type};
    auto back = decode_key(encode_key(typed, Format::kTyped), Format::kTyped);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, typed);
    auto plain = decode_key(encode_key(typed, Format::kV4), Format::kV4);
    ASSERT_TRUE(plain.has_value());
    EXPECT_EQ(*plain, (Block{pfn, order, PageType::kContig}));
  }
}

TEST(Key, TheLargestOrderIs52) {
  auto all = decode_key(1, Format::kV4);
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->order, Order(52));
  EXPECT_EQ(all->pfn, Pfn(0));
}

TEST(Key, ZeroHasNoOrderBit) {
  EXPECT_EQ(decode_key(0, Format::kV4).error().code, Errno{EINVAL});
  EXPECT_EQ(decode_key(0, Format::kTyped).error().code, Errno{EINVAL});
}

TEST(Key, ATypeAloneIsNoKey) {
  EXPECT_FALSE(decode_key(uint64_t{1} << abi::kTypeBit, Format::kTyped).has_value());
}

TEST(Key, WiderThan53BitsIsRefused) {
  for (unsigned bit = 53; bit < 64; ++bit) {
    const uint64_t key = uint64_t{1} << bit | 7;
    EXPECT_FALSE(decode_key(key, Format::kV4).has_value()) << bit;
    EXPECT_FALSE(key_fits(key, Format::kV4)) << bit;
    if (bit != abi::kTypeBit) {
      EXPECT_FALSE(decode_key(key, Format::kTyped).has_value()) << bit;
      EXPECT_FALSE(key_fits(key, Format::kTyped)) << bit;
    }
  }
  EXPECT_TRUE(key_fits((uint64_t{1} << 53) - 1, Format::kV4));
}

// The RFC's bit 63 cannot be stored: it is above what the six levels index.
TEST(Key, LinuxDefectNotReproducedTheTypeBitIsIndexedByTheTree) {
  const uint64_t indexed = (uint64_t{1} << 60) - 1;
  const uint64_t contig = encode_key(block(0x200000, 9, PageType::kContig), Format::kTyped);
  const uint64_t split = encode_key(block(0x200000, 9, PageType::kSplit), Format::kTyped);
  EXPECT_NE(contig & indexed, split & indexed);
  EXPECT_EQ(split ^ contig, uint64_t{1} << abi::kTypeBit);
}

TEST(Key, Order0HasOneTypeWhateverTheCallerSays) {
  EXPECT_EQ(encode_key(block(0x7000, 0, PageType::kSplit), Format::kTyped),
            encode_key(block(0x7000, 0, PageType::kContig), Format::kTyped));
  EXPECT_FALSE(decode_key(uint64_t{1} << abi::kTypeBit | 0x0010000000000007, Format::kTyped).has_value());
}

TEST(Key, RunsAreCutByAlignmentAndLength) {
  EXPECT_EQ(block_order_at(Pfn(0), 1), Order(0));
  EXPECT_EQ(block_order_at(Pfn(0), 1000), Order(9));
  EXPECT_EQ(block_order_at(Pfn(3), 100), Order(0));
  EXPECT_EQ(block_order_at(Pfn(4), 100), Order(2));
  EXPECT_EQ(block_order_at(Pfn(0x40000), uint64_t{1} << 18), Order(18));
  // 5 pages from an aligned frame: 4 + 1.
  EXPECT_EQ(block_order_at(Pfn(8), 5), Order(2));
  EXPECT_EQ(block_order_at(Pfn(12), 1), Order(0));
}

}  // namespace
}  // namespace causeway::kho
