#include "base/mapping.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/types.h"
#include "base/unique_fd.h"

namespace causeway {
namespace {

// msync() of an address range fails with ENOMEM where nothing is mapped.
bool is_mapped(std::byte* data) { return ::msync(data, kPageSize, MS_ASYNC) == 0; }

TEST(Mapping, DefaultMapsNothing) {
  Mapping mapping;
  EXPECT_FALSE(mapping);
  EXPECT_EQ(mapping.size(), 0u);
}

TEST(Mapping, SparseMemoryIsZeroAndLarge) {
  Mapping mapping = Mapping::sparse(GiB(64)).value();
  EXPECT_EQ(mapping.size(), GiB(64));
  EXPECT_EQ(*mapping.at<uint64_t>(GiB(63)), 0u);
  *mapping.at<uint64_t>(GiB(63)) = 5;
  EXPECT_EQ(*mapping.at<uint64_t>(GiB(63)), 5u);
}

TEST(MappingDeathTest, ReservedAddressSpaceFaults) {
  Mapping mapping = Mapping::reserve(GiB(1)).value();
  EXPECT_TRUE(mapping);
  EXPECT_DEATH(*mapping.at<volatile char>(0) = 1, "");
}

TEST(Mapping, SharedMapsTheFileFromAnOffset) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), 2 * kPageSize), 0);
  Mapping whole = Mapping::shared(fd.get(), 0, 2 * kPageSize).value();
  Mapping second = Mapping::shared(fd.get(), kPageSize, kPageSize).value();
  *whole.at<uint32_t>(kPageSize + 8) = 77;
  EXPECT_EQ(*second.at<uint32_t>(8), 77u);
}

TEST(Mapping, RefusesWhatMmapRefuses) {
  EXPECT_EQ(Mapping::shared(-1, 0, kPageSize).error().code, Errno{EBADF});
  EXPECT_EQ(Mapping::sparse(0).error().code, Errno{EINVAL});
  EXPECT_EQ(Mapping::reserve(uint64_t{1} << 62).error().code, Errno{ENOMEM});
}

TEST(Mapping, UnmapsWhenItGoes) {
  std::byte* data;
  {
    Mapping mapping = Mapping::sparse(kPageSize).value();
    data = mapping.data();
    EXPECT_TRUE(is_mapped(data));
  }
  EXPECT_FALSE(is_mapped(data));
}

TEST(Mapping, MoveHandsOver) {
  Mapping first = Mapping::sparse(kPageSize).value();
  std::byte* data = first.data();
  Mapping second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): moved-from is empty, by contract
  EXPECT_EQ(first.size(), 0u);  // NOLINT(clang-analyzer-cplusplus.Move)
  EXPECT_EQ(second.data(), data);
  EXPECT_TRUE(is_mapped(data));
}

TEST(Mapping, AssignmentUnmapsTheOldArea) {
  Mapping first = Mapping::sparse(kPageSize).value();
  Mapping second = Mapping::sparse(2 * kPageSize).value();
  std::byte* old = first.data();
  std::byte* kept = second.data();
  first = std::move(second);
  EXPECT_FALSE(is_mapped(old));
  EXPECT_EQ(first.data(), kept);
  EXPECT_EQ(first.size(), 2 * kPageSize);
}

}  // namespace
}  // namespace causeway
