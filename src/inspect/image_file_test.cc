// Image files: what is one, and what is wrong with it.
#include "inspect/image_file.h"

#include <elf.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <zstd.h>

#include "inspect/testing/decoding.h"
#include "inspect/testing/image_builder.h"

namespace causeway::inspect {
namespace {

std::vector<std::byte> example() { return WorkedExample().core(); }

template <typename T>
T& at(std::vector<std::byte>& bytes, uint64_t offset) {
  return *reinterpret_cast<T*>(bytes.data() + offset);
}
Elf64_Phdr& segment(std::vector<std::byte>& bytes, size_t index) {
  return at<Elf64_Phdr>(bytes, sizeof(Elf64_Ehdr) + index * sizeof(Elf64_Phdr));
}
bool has(const ImageFile& image, std::string_view rule) {
  for (const Finding& finding : image.findings().list())
    if (rule == finding.rule) return true;
  return false;
}
std::vector<std::byte> packed(const std::vector<std::byte>& bytes) {
  std::vector<std::byte> out(ZSTD_compressBound(bytes.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

// A file that lives as long as the object.
struct TemporaryFile {
  explicit TemporaryFile(const std::vector<std::byte>& bytes) : fd(::memfd_create("image", MFD_CLOEXEC)) {
    EXPECT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  Result<ImageFile> open(OpenOptions options = {}) const {
    return ImageFile::open(fmt::format("/proc/self/fd/{}", fd.get()), options);
  }
  UniqueFd fd;
};

TEST(ImageFile, WhatIsNoImageIsRefusedWithAReason) {
  EXPECT_EQ(ImageFile::open("/nonexistent", {}).error().code, Errno{ENOENT});
  EXPECT_EQ(ImageFile::open("/", {}).error().code, Errno{EISDIR});
  EXPECT_EQ(ImageFile::open("/dev/null", {}).error().code, Errno{EINVAL});
  EXPECT_EQ(TemporaryFile({}).open().error().code, Errno{EINVAL});
  auto bytes = example();
  at<Elf64_Ehdr>(bytes, 0).e_type = ET_DYN;
  EXPECT_EQ(ImageFile::from_bytes(bytes).error().code, Errno{ENOEXEC});
  bytes = example();
  at<Elf64_Ehdr>(bytes, 0).e_ident[EI_CLASS] = ELFCLASS32;
  EXPECT_EQ(ImageFile::from_bytes(bytes).error().code, Errno{ENOEXEC});
  EXPECT_EQ(ImageFile::from_bytes(std::span(bytes).first(40)).error().code, Errno{ENOEXEC});
}

TEST(ImageFile, ASegmentBeyondTheEndIsCutAndTold) {
  auto bytes = example();
  bytes.resize(bytes.size() - 100);
  auto image = *ImageFile::from_bytes(bytes);
  EXPECT_TRUE(has(image, "file.truncated"));
  EXPECT_NE(image.memory().at(PhysAddr(0x400000), kPageSize - 100), nullptr);
  EXPECT_EQ(image.memory().at(PhysAddr(0x400000), kPageSize - 99), nullptr);
}

TEST(ImageFile, ProgramHeadersBeyondTheEndAreCutAndTold) {
  auto bytes = example();
  at<Elf64_Ehdr>(bytes, 0).e_phnum = 60000;
  EXPECT_TRUE(has(*ImageFile::from_bytes(bytes), "file.headers-cut"));
  at<Elf64_Ehdr>(bytes, 0).e_phnum = PN_XNUM;
  at<Elf64_Ehdr>(bytes, 0).e_shoff = ~uint64_t{0} - 8;
  EXPECT_EQ(ImageFile::from_bytes(bytes).error().code, Errno{ENOEXEC});
}

TEST(ImageFile, SegmentsThatOverlapAreComparedAndTheLowerOneUsed) {
  auto bytes = example();
  segment(bytes, 1).p_paddr = segment(bytes, 0).p_paddr;
  auto image = *ImageFile::from_bytes(bytes);
  EXPECT_TRUE(has(image, "file.segments-disagree"));
  EXPECT_EQ(Decoded(bytes).report.fdt_phys, PhysAddr(ImageBuilder::kFdt));

  bytes = example();
  segment(bytes, 1) = segment(bytes, 0);
  EXPECT_FALSE(has(*ImageFile::from_bytes(bytes), "file.segments-disagree")) << "the same twice, as the kernel text is";
}

TEST(ImageFile, SegmentsThatWrapOrHaveNoAddressAreLeftOut) {
  auto bytes = example();
  segment(bytes, 0).p_paddr = ~uint64_t{0} - 100;
  segment(bytes, 1).p_paddr = ~uint64_t{0};
  auto image = *ImageFile::from_bytes(bytes);
  EXPECT_TRUE(has(image, "file.segment-wraps"));
  EXPECT_EQ(image.memory().at(PhysAddr(~uint64_t{0} - 50), 8), nullptr);
  EXPECT_FALSE(image.memory().is_ram(PhysAddr(~uint64_t{0} - 50), 8));
}

TEST(ImageFile, SegmentsInAnyOrderAndOfAnyAlignment) {
  auto bytes = example();
  std::swap(segment(bytes, 0), segment(bytes, 5));
  EXPECT_EQ(Decoded(bytes).report.findings.problems(), 0u);
  segment(bytes, 0).p_paddr += 8;
  segment(bytes, 0).p_offset += 8;
  segment(bytes, 0).p_filesz -= 8;
  segment(bytes, 0).p_memsz -= 8;
  EXPECT_EQ((*ImageFile::from_bytes(bytes)).memory().at(PhysAddr(0x105000), kPageSize), nullptr);
}

TEST(ImageFile, ARawImageNeedNotEndWithAPage) {
  auto bytes = WorkedExample().raw();
  bytes.resize(bytes.size() - 1);
  auto image = *ImageFile::from_bytes(bytes);
  EXPECT_EQ(image.kind(), ImageKind::kRaw);
  EXPECT_NE(image.memory().at(PhysAddr(0x400000), kPageSize - 1), nullptr);
  EXPECT_EQ(image.memory().at(PhysAddr(0x400000), kPageSize), nullptr);
  EXPECT_EQ(image.memory().at(PhysAddr(~uint64_t{0}), 2), nullptr);
}

TEST(ImageFile, CompressedImagesOfBothKinds) {
  for (const auto& bytes : {WorkedExample().core(), WorkedExample().raw()}) {
    TemporaryFile file(packed(bytes));
    auto image = file.open();
    ASSERT_TRUE(image.has_value()) << to_string(image.error());
    EXPECT_TRUE(image->compressed());
    EXPECT_EQ(decode(image->memory(), options_for(*image)).findings.problems(), 0u);
  }
}

TEST(ImageFile, ACompressedImageIsBoundedByWhatIsNotZero) {
  std::vector<std::byte> bytes(MiB(8));
  std::fill(bytes.begin() + MiB(4), bytes.begin() + MiB(5), std::byte{7});
  TemporaryFile file(packed(bytes));
  EXPECT_TRUE(file.open({.max_bytes = MiB(1)}).has_value());
  EXPECT_EQ(file.open({.max_bytes = MiB(1) - 1}).error().code, Errno{EFBIG});
}

TEST(ImageFile, ACompressedImageThatEndsEarlyIsReadAsFarAsItGoes) {
  std::vector<std::byte> noise(MiB(1));
  for (size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<std::byte>(i * i >> 7);
  auto short_one = packed(noise);
  short_one.resize(short_one.size() / 2);
  auto image = TemporaryFile(short_one).open();
  // A stream that is cut inside its first block gives nothing at all.
  if (image.has_value()) {
    EXPECT_TRUE(has(*image, "file.truncated"));
  } else {
    EXPECT_EQ(image.error().code, Errno{EINVAL});
  }

  auto damaged = packed(noise);
  damaged[5] = std::byte{0xff};
  damaged[6] = std::byte{0xff};
  auto broken = TemporaryFile(damaged).open();
  EXPECT_TRUE(!broken.has_value() || broken->findings().problems() > 0);
}

}  // namespace
}  // namespace causeway::inspect
