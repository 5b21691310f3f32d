#include "kho/root_fdt.h"

#include <gtest/gtest.h>
#include <libfdt.h>

#include <cstring>

#include "kho/abi/kho_v4.h"

namespace causeway::kho {
namespace {

uint64_t u64_property(const RootFdt& fdt, const char* node, const char* name) {
  const void* data = fdt.bytes().data();
  int length = 0;
  const void* value = fdt_getprop(data, fdt_path_offset(data, node), name, &length);
  uint64_t result = 0;
  EXPECT_EQ(length, 8);
  if (length == 8) std::memcpy(&result, value, 8);
  return result;
}

RootFdt make() {
  return *RootFdt::create(abi::kCompatible, PhysAddr(0x10a000));
}

TEST(RootFdt, IsWhatTheWorkedExampleSays) {
  RootFdt fdt = make();
  ASSERT_TRUE(fdt.add_subtree("kexec-metadata", PhysAddr(0x101000), 73).has_value());
  ASSERT_TRUE(fdt.add_subtree("LUO", PhysAddr(0x102000), 32).has_value());
  const auto bytes = fdt.bytes();
  ASSERT_EQ(bytes.size(), 0x11du);
  // Section 2.9: the structure block from 0x38, big-endian tokens and host-endian payloads.
  const std::vector<uint8_t> expected = [] {
    std::vector<uint8_t> out;
    auto be = [&](uint32_t word) {
      for (int s = 24; s >= 0; s -= 8) out.push_back(static_cast<uint8_t>(word >> s));
    };
    auto text = [&](const char* s, size_t padded) {
      const size_t start = out.size();
      out.insert(out.end(), s, s + std::strlen(s));
      out.resize(start + padded);
    };
    auto prop64 = [&](uint32_t name, uint64_t value) {
      be(3), be(8), be(name);
      for (int s = 0; s < 64; s += 8) out.push_back(static_cast<uint8_t>(value >> s));
    };
    be(1), be(0), be(3), be(7), be(0x15), text("kho-v4", 8), prop64(0, 0x10a000);
    be(1), text("LUO", 4), prop64(0x2f, 0x20), prop64(0x20, 0x102000), be(2);
    be(1), text("kexec-metadata", 16), prop64(0x2f, 73), prop64(0x20, 0x101000), be(2);
    be(2), be(9);
    return out;
  }();
  ASSERT_EQ(expected.size(), 172u);
  EXPECT_EQ(std::memcmp(bytes.data() + 0x38, expected.data(), expected.size()), 0);
  const char strings[] = "preserved-memory-map\0compatible\0preserved-data\0blob-size";
  ASSERT_EQ(sizeof strings, 57u);
  EXPECT_EQ(std::memcmp(bytes.data() + 0xe4, strings, sizeof strings), 0);
}

TEST(RootFdt, EveryStateIsValidAndPacked) {
  RootFdt fdt = make();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(fdt.add_subtree("n" + std::to_string(i), PhysAddr(0x1000 * (i + 1)), 8).has_value());
    EXPECT_EQ(fdt_check_full(fdt.bytes().data(), fdt.bytes().size()), 0);
    EXPECT_EQ(fdt_totalsize(fdt.bytes().data()), fdt.bytes().size());
  }
  const size_t size = fdt.bytes().size();
  EXPECT_TRUE(fdt.remove_subtree(PhysAddr(0x3000)));
  EXPECT_EQ(fdt_check_full(fdt.bytes().data(), fdt.bytes().size()), 0);
  EXPECT_LT(fdt.bytes().size(), size);
}

TEST(RootFdt, DuplicateNameIsEexist) {
  RootFdt fdt = make();
  ASSERT_TRUE(fdt.add_subtree("LUO", PhysAddr(0x1000), 32).has_value());
  const std::vector<std::byte> before(fdt.bytes().begin(), fdt.bytes().end());
  EXPECT_EQ(fdt.add_subtree("LUO", PhysAddr(0x2000), 32).error().code, Errno{EEXIST});
  EXPECT_TRUE(std::equal(before.begin(), before.end(), fdt.bytes().begin(), fdt.bytes().end()));
}

TEST(RootFdt, FullPageIsEnomemAndChangesNothing) {
  RootFdt fdt = make();
  int count = 0;
  Status last;
  while ((last = fdt.add_subtree("s" + std::to_string(count), PhysAddr(0x1000 * (count + 1)), 8)).has_value())
    ++count;
  EXPECT_EQ(last.error().code, Errno{ENOMEM});
  EXPECT_GE(count, 60);
  EXPECT_LE(fdt.bytes().size(), kPageSize);
  EXPECT_EQ(fdt_check_full(fdt.bytes().data(), fdt.bytes().size()), 0);
  EXPECT_EQ(u64_property(fdt, ("/s" + std::to_string(count - 1)).c_str(), abi::kPropSubtreePhys),
            0x1000u * static_cast<unsigned>(count));
  // What was removed makes room again.
  EXPECT_TRUE(fdt.remove_subtree(PhysAddr(0x1000)));
  EXPECT_TRUE(fdt.add_subtree("again", PhysAddr(0x1000), 8).has_value());
}

TEST(RootFdt, RemoveGoesByAddressFirstHitOnly) {
  RootFdt fdt = make();
  ASSERT_TRUE(fdt.add_subtree("a", PhysAddr(0x1000), 8).has_value());
  ASSERT_TRUE(fdt.add_subtree("b", PhysAddr(0x1000), 8).has_value());
  EXPECT_TRUE(fdt.remove_subtree(PhysAddr(0x1000)));
  EXPECT_GE(fdt_path_offset(fdt.bytes().data(), "/a"), 0);
  EXPECT_LT(fdt_path_offset(fdt.bytes().data(), "/b"), 0);
  EXPECT_TRUE(fdt.remove_subtree(PhysAddr(0x1000)));
  EXPECT_FALSE(fdt.remove_subtree(PhysAddr(0x1000)));
}

TEST(RootFdt, NamesThatAreNoNodeNamesAreRefused) {
  RootFdt fdt = make();
  for (std::string_view name : {std::string_view(""), std::string_view("a/b"), std::string_view("a\0b", 3)})
    EXPECT_EQ(fdt.add_subtree(name, PhysAddr(0x1000), 8).error().code, Errno{EINVAL});
}

TEST(RootFdt, TreeRootCanBeChanged) {
  RootFdt fdt = make();
  ASSERT_TRUE(fdt.set_tree_root(PhysAddr(0x777000)).has_value());
  EXPECT_EQ(u64_property(fdt, "/", abi::kPropMemoryMap), 0x777000u);
}

}  // namespace
}  // namespace causeway::kho
