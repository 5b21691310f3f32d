#include "iommu/vtd/dmar.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "base/testing/results.h"
#include "hw/dmar.h"

namespace causeway::iommu::vtd {
namespace {

class Builder {
 public:
  Builder() {
    hw::DmarHeader header{};
    std::memcpy(header.signature, "DMAR", 4);
    header.revision = 1;
    header.host_address_width = 45;
    append(header);
  }
  template <typename T>
  size_t append(const T& value) {
    size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return at;
  }
  template <typename T>
  T& at(size_t offset) {
    return *reinterpret_cast<T*>(bytes.data() + offset);
  }
  size_t unit(uint64_t base, uint8_t flags, std::vector<Bdf> devices, uint16_t segment = 0) {
    auto length = static_cast<uint16_t>(sizeof(hw::DmarUnit) + devices.size() * sizeof(hw::DmarScope));
    size_t start = append(hw::DmarUnit{{hw::DmarType::kHardwareUnit, length}, flags, 0, segment, base});
    scopes(devices);
    return start;
  }
  size_t reserved(uint64_t base, uint64_t limit, std::vector<Bdf> devices) {
    auto length = static_cast<uint16_t>(sizeof(hw::DmarReservedMemory) + devices.size() * sizeof(hw::DmarScope));
    size_t start = append(hw::DmarReservedMemory{{hw::DmarType::kReservedMemory, length}, 0, 0, base, limit});
    scopes(devices);
    return start;
  }
  // With a length and a checksum that are right.
  std::vector<std::byte>& done() {
    at<hw::DmarHeader>(0).length = static_cast<uint32_t>(bytes.size());
    return summed();
  }
  std::vector<std::byte>& summed() {
    at<hw::DmarHeader>(0).checksum = 0;
    unsigned sum = 0;
    for (std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
    at<hw::DmarHeader>(0).checksum = static_cast<uint8_t>(-sum);
    return bytes;
  }
  std::vector<std::byte> bytes;

 private:
  void scopes(const std::vector<Bdf>& devices) {
    for (Bdf bdf : devices) {
      append(hw::DmarScope{hw::kScopeEndpoint, 8, 0, 0, 0, static_cast<uint8_t>(bdf.bus()),
                           static_cast<uint8_t>(bdf.device()), static_cast<uint8_t>(bdf.function())});
    }
  }
};

TEST(Dmar, UnitsTheirDevicesAndReservedMemory) {
  Builder builder;
  builder.unit(0xfed9'0000, 0, {Bdf(0, 2, 0)});
  builder.append(hw::DmarStructure{static_cast<hw::DmarType>(3), 4});  // of a kind nobody here knows
  builder.reserved(0x8000'0000, 0x800f'ffff, {Bdf(0, 2, 0), Bdf(0, 5, 1)});
  builder.unit(0xfed9'1000, hw::kIncludeAll, {});
  builder.done().resize(4096);
  DmarTable table = must(parse_dmar(builder.bytes));
  EXPECT_EQ(table.host_address_bits, 46u);
  ASSERT_EQ(table.units.size(), 2u);
  ASSERT_EQ(table.reserved.size(), 1u);
  EXPECT_EQ(table.reserved[0].base, PhysAddr{0x8000'0000});
  EXPECT_EQ(table.reserved[0].last, PhysAddr{0x800f'ffff});
  EXPECT_EQ(table.reserved[0].devices, (std::vector<Bdf>{Bdf(0, 2, 0), Bdf(0, 5, 1)}));
  EXPECT_EQ(table.unit_of(0, Bdf(0, 2, 0)), &table.units[0]);
  EXPECT_EQ(table.unit_of(0, Bdf(0, 3, 0)), &table.units[1]);
  EXPECT_EQ(table.unit_of(1, Bdf(0, 2, 0)), nullptr);
}

TEST(Dmar, WithoutASignatureThereIsNoTable) {
  std::vector<std::byte> page(4096);
  EXPECT_EQ(error_of(parse_dmar(page)), ENODEV);
  EXPECT_EQ(error_of(parse_dmar({})), ENODEV);
}

TEST(Dmar, WhatCannotBeIsRefused) {
  struct Case {
    const char* message;
    std::function<void(Builder&)> damage;
  };
  const Case cases[] = {
      {"the DMAR table has a wrong checksum", [](Builder& b) { b.done()[60] ^= std::byte{1}; }},
      {"the DMAR table has a length that cannot be",
       [](Builder& b) {
         b.at<hw::DmarHeader>(0).length = static_cast<uint32_t>(b.bytes.size() + 1);
         b.summed();
       }},
      {"the DMAR table has a length that cannot be",
       [](Builder& b) {
         b.at<hw::DmarHeader>(0).length = 47;
         b.summed();
       }},
      {"a DMAR structure has a length that cannot be",
       [](Builder& b) {
         b.append(hw::DmarStructure{hw::DmarType::kHardwareUnit, 0});
         b.done();
       }},
      {"a DMAR structure has a length that cannot be",
       [](Builder& b) {
         b.append(hw::DmarStructure{hw::DmarType::kHardwareUnit, 40});
         b.done();
       }},
      {"a DMAR structure is too short",
       [](Builder& b) {
         b.append(hw::DmarStructure{hw::DmarType::kHardwareUnit, 4});
         b.done();
       }},
      {"a DMAR structure is too short",
       [](Builder& b) {
         b.append(uint16_t{0});
         b.done();
       }},
      {"a DMAR device scope has a length that cannot be",
       [](Builder& b) {
         size_t at = b.unit(0xfed9'5000, 0, {Bdf(0, 4, 0)});
         b.at<hw::DmarScope>(at + sizeof(hw::DmarUnit)).length = 9;
         b.done();
       }},
      {"a DMAR device scope has a length that cannot be",
       [](Builder& b) {
         size_t at = b.unit(0xfed9'5000, 0, {Bdf(0, 4, 0)});
         b.at<hw::DmarScope>(at + sizeof(hw::DmarUnit)).length = 0;
         b.done();
       }},
      {"a DMAR device scope names no function",
       [](Builder& b) {
         size_t at = b.unit(0xfed9'5000, 0, {Bdf(0, 4, 0)});
         b.at<hw::DmarScope>(at + sizeof(hw::DmarUnit)).device = 32;
         b.done();
       }},
      {"the registers of a DMAR unit are not on a page", [](Builder& b) { b.unit(0xfed9'5008, 0, {}), b.done(); }},
      {"two DMAR units have the same registers", [](Builder& b) { b.unit(0xfed9'0000, 0, {}), b.done(); }},
      {"two DMAR units include all devices of a segment",
       [](Builder& b) { b.unit(0xfed9'5000, hw::kIncludeAll, {}), b.done(); }},
      {"a device is behind two DMAR units", [](Builder& b) { b.unit(0xfed9'5000, 0, {Bdf(0, 2, 0)}), b.done(); }},
      {"reserved memory in the DMAR table is not whole pages",
       [](Builder& b) { b.reserved(0x9000'0000, 0x8fff'ffff, {}), b.done(); }},
      {"reserved memory in the DMAR table is not whole pages",
       [](Builder& b) { b.reserved(0x9000'0000, 0x9000'0800, {}), b.done(); }},
  };
  for (const Case& c : cases) {
    Builder builder;
    builder.unit(0xfed9'0000, 0, {Bdf(0, 2, 0)});
    builder.unit(0xfed9'1000, hw::kIncludeAll, {});
    EXPECT_TRUE(parse_dmar(builder.done())) << "before the damage";
    c.damage(builder);
    auto parsed = parse_dmar(builder.bytes);
    ASSERT_FALSE(parsed) << c.message;
    EXPECT_EQ(static_cast<int>(parsed.error().code), EINVAL);
    EXPECT_STREQ(parsed.error().message, c.message);
  }
}

TEST(Dmar, NoiseIsReadWithoutHarm) {
  std::mt19937_64 random(7);
  unsigned accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    Builder builder;
    builder.unit(0xfed9'0000, 0, {Bdf(0, 2, 0), Bdf(0, 3, 0)});
    builder.reserved(0x8000'0000, 0x800f'ffff, {Bdf(0, 2, 0)});
    builder.done();
    for (uint64_t n = random() % 4; n > 0; --n)
      builder.bytes[random() % builder.bytes.size()] = static_cast<std::byte>(random());
    // Exactly as large as it is, so that a step beyond the end is one beyond the allocation.
    std::vector<std::byte> exact(builder.summed());
    accepted += parse_dmar(exact).has_value() ? 1 : 0;
  }
  EXPECT_GT(accepted, 5000u);
  EXPECT_LT(accepted, 20000u);
}

}  // namespace
}  // namespace causeway::iommu::vtd
