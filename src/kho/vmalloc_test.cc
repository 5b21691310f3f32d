#include <gtest/gtest.h>

#include "base/log.h"
#include "base/point.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

class KhoVmalloc : public ::testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    log::set_level(log::Level::kWarn);
    now_ = std::make_unique<Generation>(machine_, test_params(format()));
  }
  void TearDown() override { log::set_level(log::Level::kInfo); }
  virtual Format format() const { return GetParam(); }
  void kexec() {
    now_->commit();
    now_ = std::make_unique<Generation>(machine_);
  }
  const mm::VmArea* make(uint64_t pages, bool huge = false) {
    const mm::VmArea* area = *now_->vmalloc->alloc(pages * kPageSize, mm::kGfpKernel, huge);
    for (uint64_t i = 0; i < pages; ++i) word(area, i) = i * 31 + 7;
    return area;
  }
  static uint64_t& word(const mm::VmArea* area, uint64_t page) {
    return *reinterpret_cast<uint64_t*>(area->address + page * kPageSize);
  }
  unsigned chunks(const abi::VmallocDescriptor& descriptor) {
    unsigned n = 0;
    for (uint64_t at = descriptor.first; at != 0; at = machine_.at<abi::VmallocChunk>(PhysAddr(at))->next)
      ++n;
    return n;
  }
  Kho& kho() { return *now_->kho; }

  TestMachine machine_;
  std::unique_ptr<Generation> now_;
};

TEST_P(KhoVmalloc, ContentsComeBackAtANewAddress) {
  const mm::VmArea* area = make(700);
  auto descriptor = kho().preserve_vmalloc(area->address);
  ASSERT_TRUE(descriptor.has_value());
  EXPECT_EQ(descriptor->total_pages, 700u);
  EXPECT_EQ(descriptor->flags, abi::kVmallocFlagAlloc);
  EXPECT_EQ(descriptor->order, 0u);
  EXPECT_EQ(chunks(*descriptor), 2u);
  word(area, 5) = 12345;  // content may be written after preserving
  kexec();
  auto restored = kho().restore_vmalloc(*descriptor);
  ASSERT_TRUE(restored.has_value());
  for (uint64_t i = 0; i < 700; ++i) ASSERT_EQ(word(*restored, i), i == 5 ? 12345 : i * 31 + 7);
  EXPECT_EQ((*restored)->flags, mm::kVmAlloc);
  EXPECT_EQ(now_->state(PhysAddr(descriptor->first)), mm::FrameState::kAllocated);
  now_->commit();
  EXPECT_EQ(now_->state(PhysAddr(descriptor->first)), mm::FrameState::kFree);
  EXPECT_TRUE(kho().unrestored().empty());
  now_->vmalloc->free((*restored)->address);
  now_->expect_sound();
}

TEST_P(KhoVmalloc, HugePagesKeepTheirOrder) {
  const mm::VmArea* area = make(1024, true);
  ASSERT_EQ(area->page_order, Order(9));
  auto descriptor = *kho().preserve_vmalloc(area->address);
  EXPECT_EQ(descriptor.order, 9u);
  EXPECT_EQ(descriptor.flags, abi::kVmallocFlagAlloc | abi::kVmallocFlagHuge);
  EXPECT_EQ(descriptor.total_pages, 1024u);
  kexec();
  auto restored = kho().restore_vmalloc(descriptor);
  ASSERT_TRUE(restored.has_value());
  EXPECT_EQ((*restored)->page_order, Order(9));
  EXPECT_EQ(word(*restored, 1023), 1023u * 31 + 7);
  now_->vmalloc->free((*restored)->address);
  now_->expect_sound();
}

TEST_P(KhoVmalloc, LinuxDefectNotReproducedNoEmptyChunkAfterAMultipleOf511) {
  auto descriptor = *kho().preserve_vmalloc(make(511)->address);
  EXPECT_EQ(chunks(descriptor), 1u);
  kexec();
  EXPECT_TRUE(kho().restore_vmalloc(descriptor).has_value());
}

TEST_P(KhoVmalloc, TheEmptyChunkThatLinuxWritesIsAccepted) {
  auto descriptor = *kho().preserve_vmalloc(make(1022)->address);
  ASSERT_EQ(chunks(descriptor), 2u);
  auto* last = machine_.at<abi::VmallocChunk>(
      PhysAddr(machine_.at<abi::VmallocChunk>(PhysAddr(descriptor.first))->next));
  last->next = now_->phys(*kho().alloc_preserve(kPageSize)).value();
  kexec();
  auto restored = kho().restore_vmalloc(descriptor);
  ASSERT_TRUE(restored.has_value());
  EXPECT_EQ((*restored)->size, 1022 * kPageSize);
  EXPECT_TRUE(kho().unrestored().empty());
}

TEST_P(KhoVmalloc, UnpreserveTakesEverythingBackButNotTheData) {
  const KhoStats before = kho().stats();
  const mm::VmArea* area = make(600);
  auto descriptor = *kho().preserve_vmalloc(area->address);
  EXPECT_EQ(kho().stats().preserved_pages, before.preserved_pages + 602);
  kho().unpreserve_vmalloc(descriptor);
  EXPECT_EQ(kho().stats().preserved_pages, before.preserved_pages);
  EXPECT_EQ(word(area, 599), 599u * 31 + 7);
  log::Capture capture;
  kho().unpreserve_vmalloc(descriptor);  // its chunks are not preserved any more
  EXPECT_TRUE(capture.contains("unpreserve_vmalloc"));
  kho().unpreserve_vmalloc({});
  now_->vmalloc->free(area->address);
  now_->expect_sound();
}

TEST_P(KhoVmalloc, WhatCannotBePreserved) {
  int local = 0;
  EXPECT_EQ(kho().preserve_vmalloc(&local).error().code, Errno{EINVAL});
  mm::Page* page = now_->alloc(kOrder0);
  const mm::VmArea* mapped = *now_->vmalloc->map(std::span(&page, 1), kOrder0, mm::kVmMap);
  EXPECT_EQ(kho().preserve_vmalloc(mapped->address).error().code, Errno{EOPNOTSUPP});
  const mm::VmArea* mixed = *now_->vmalloc->map(std::span(&page, 1), kOrder0, mm::kVmAlloc | mm::kVmIoremap);
  EXPECT_EQ(kho().preserve_vmalloc(mixed->address).error().code, Errno{EOPNOTSUPP});
}

TEST_P(KhoVmalloc, RestoreIsOneShot) {
  auto descriptor = *kho().preserve_vmalloc(make(3)->address);
  kexec();
  ASSERT_TRUE(kho().restore_vmalloc(descriptor).has_value());
  EXPECT_EQ(kho().restore_vmalloc(descriptor).error().code, Errno{ENOENT});
}

INSTANTIATE_TEST_SUITE_P(Formats, KhoVmalloc, ::testing::Values(Format::kV4, Format::kTyped),
                         [](const auto& format) { return format.param == Format::kV4 ? "v4" : "typed"; });

class DamagedVmalloc : public KhoVmalloc {
 protected:
  Format format() const override { return Format::kV4; }
  void SetUp() override {
    KhoVmalloc::SetUp();
    descriptor_ = *kho().preserve_vmalloc(make(600)->address);
    kexec();
  }
  abi::VmallocChunk& first() { return *machine_.at<abi::VmallocChunk>(PhysAddr(descriptor_.first)); }
  // Refused, and nothing has been restored: the good descriptor still works.
  void expect_refused(int code, const abi::VmallocDescriptor& bad) {
    auto restored = kho().restore_vmalloc(bad);
    ASSERT_FALSE(restored.has_value());
    EXPECT_EQ(restored.error().code, Errno{code}) << restored.error().message;
    EXPECT_EQ(kho().stats().restored_pages, 0u);
  }
  abi::VmallocDescriptor descriptor_;
};

TEST_F(DamagedVmalloc, Descriptor) {
  abi::VmallocDescriptor bad = descriptor_;
  bad.first = descriptor_.first + 8;
  expect_refused(ENOENT, bad);
  bad.first = ~uint64_t{0};
  expect_refused(ENOENT, bad);
  bad.first = 0;
  expect_refused(EINVAL, bad);
  bad = descriptor_;
  bad.total_pages = 599;
  expect_refused(EINVAL, bad);
  bad.total_pages = 601;
  expect_refused(EINVAL, bad);
  bad.total_pages = 0;
  expect_refused(EINVAL, bad);
  bad = descriptor_;
  bad.order = 3;
  expect_refused(EINVAL, bad);
  bad.order = 0xffff;
  expect_refused(EINVAL, bad);
  EXPECT_TRUE(kho().restore_vmalloc(descriptor_).has_value());
}

TEST_F(DamagedVmalloc, LinuxDefectNotReproducedUnknownFlagsAreRefused) {
  abi::VmallocDescriptor bad = descriptor_;
  bad.flags |= 0x8000;
  expect_refused(EINVAL, bad);
}

TEST_F(DamagedVmalloc, Chunks) {
  const uint64_t next = first().next, phys = first().phys[3];
  first().next = descriptor_.first;
  expect_refused(EINVAL, descriptor_);
  first().next = GiB(700);
  expect_refused(ENOENT, descriptor_);
  first().next = next;
  first().phys[3] = phys + 8;
  expect_refused(EINVAL, descriptor_);
  first().phys[3] = MiB(8);
  expect_refused(ENOENT, descriptor_);
  first().phys[3] = ~uint64_t{0} & kPageMask;
  expect_refused(ENOENT, descriptor_);
  first().phys[3] = 0;
  expect_refused(EINVAL, descriptor_);
  first().phys[3] = phys;
  EXPECT_TRUE(kho().restore_vmalloc(descriptor_).has_value());
}

TEST_F(DamagedVmalloc, AnEmptyCycleEnds) {
  std::memset(first().phys, 0, sizeof first().phys);
  first().next = descriptor_.first;
  expect_refused(EINVAL, descriptor_);
}

TEST_F(DamagedVmalloc, APageListedTwiceIsRefusedAndWhatWasRestoredIsWithheld) {
  log::Capture quiet;
  first().phys[3] = first().phys[4];
  EXPECT_EQ(kho().restore_vmalloc(descriptor_).error().code, Errno{EINVAL});
  EXPECT_NE(now_->state(PhysAddr(first().phys[0])), mm::FrameState::kFree);
}

#if CW_POINTS
TEST_P(KhoVmalloc, LinuxDefectNotReproducedTheErrorPathUnpreservesExactlyWhatWasPreserved) {
  const mm::VmArea* area = make(1100);
  const KhoStats before = kho().stats();
  for (int n : {1, 2, 3}) {
    ASSERT_TRUE(point::arm("kho.vmalloc.chunk=fail:" + std::to_string(n)).has_value());
    EXPECT_EQ(kho().preserve_vmalloc(area->address).error().code, Errno{ENOMEM});
    point::disarm_all();
    EXPECT_EQ(kho().stats().preserved_blocks, before.preserved_blocks);
  }
  ASSERT_TRUE(point::arm("kho.preserve.pages=fail:700").has_value());
  EXPECT_EQ(kho().preserve_vmalloc(area->address).error().code, Errno{ENOMEM});
  point::disarm_all();
  EXPECT_EQ(kho().stats().preserved_blocks, before.preserved_blocks);
  now_->vmalloc->free(area->address);
  now_->expect_sound();
}
#endif

}  // namespace
}  // namespace causeway::kho
