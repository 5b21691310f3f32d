// Preserving and unpreserving (spec scenarios 72, 74, 75, 82, 84).
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/log.h"
#include "dma/state.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

// What preservation may change in KHO.
struct Tree {
  uint64_t blocks, pages;
  explicit Tree(System& system)
      : blocks(system.kho().stats().preserved_blocks), pages(system.kho().stats().preserved_pages) {}
  bool operator==(const Tree&) const = default;
};

struct SizeCase {
  uint64_t size, pages;
};
constexpr SizeCase kSizes[] = {{1, 1},    {64, 1},    {4096, 1},   {4097, 2},
                               {8193, 4}, {20480, 8}, {65536, 16}, {65537, 32}};

// 72
TEST(Preserve, TheWholeBlockIsOneEntryAndUnpreserveEmptiesTheTree) {
  System system;
  Device device = system.device();
  for (auto [size, pages] : kSizes) {
    const Tree before(system);
    Coherent memory = must(alloc_coherent(device, size, kSleep));
    Token token = must(preserve_allocation(device, memory, Attr::kNone));
    Tree during(system);
    EXPECT_EQ(during.blocks, before.blocks + 2) << "the block and the page of records";
    EXPECT_EQ(during.pages, before.pages + pages + 1) << size;
    must(unpreserve_allocation(device, token));
    EXPECT_EQ(Tree(system), before);
    must(free_coherent(device, memory));
  }
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

// 72: the posted code
TEST(Preserve, CountingPagesByShiftLosesPartOfTheBlock) {
  System system({.faults = {.short_preserve = true}});
  Device device = system.device();
  for (auto [size, wrong] : {SizeCase{64, 0}, SizeCase{20480, 5}}) {
    const Tree before(system);
    Coherent memory = must(alloc_coherent(device, size, kSleep));
    Token token = must(preserve_allocation(device, memory, Attr::kNone));
    EXPECT_EQ(Tree(system).pages, before.pages + 1 + wrong);
    must(unpreserve_allocation(device, token));
    EXPECT_EQ(Tree(system), before);
    must(free_coherent(device, memory));
  }
}

TEST(Preserve, ThousandsOfRecordsShareAFewPages) {
  System system;
  Device device = system.device();
  const Tree before(system);
  std::vector<Coherent> memory;
  std::vector<Token> tokens;
  for (unsigned i = 0; i < 1000; ++i) {
    memory.push_back(must(alloc_coherent(device, KiB(4), kSleep)));
    tokens.push_back(must(preserve_allocation(device, memory.back(), Attr::kNone)));
  }
  EXPECT_EQ(Tree(system).pages, before.pages + 1000 + 16);
  EXPECT_EQ(system.dma().stats().preserved, 1000u);
  for (Token token : tokens) must(unpreserve_allocation(device, token));
  EXPECT_EQ(Tree(system), before);
  EXPECT_EQ(system.dma().stats().preserved, 0u);
  for (const Coherent& block : memory) must(free_coherent(device, block));
}

// 74: each row of the table; nothing changes in KHO, the allocation stays usable and freeable.
void expect_refused(const char* row, const BootOptions& options, DeviceTraits traits, mm::Gfp gfp = kSleep,
                    Attr attrs = Attr::kNone) {
  SCOPED_TRACE(row);
  System system(options);
  Device device = system.device(traits);
  Coherent memory = must(alloc_attrs(device, KiB(8), gfp, attrs));
  const Tree before(system);
  EXPECT_EQ(error_of(preserve_allocation(device, memory, attrs)), EOPNOTSUPP);
  EXPECT_EQ(Tree(system), before);
  EXPECT_EQ(system.dma().stats().preserved, 0u);
  if (system.map().direct_map().contains(memory.cpu)) std::memset(memory.cpu, 1, memory.size);
  EXPECT_EQ(error_of(free_attrs(device, memory, attrs)), 0);
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

TEST(Preserve, EveryAllocationThatCannotBeHandedOverIsRefused) {
  expect_refused("KHO off", {.kho = false}, {});
  expect_refused("built without", {.dma = {.liveupdate = false}}, {});
  expect_refused("CMA", {.dma = {.cma = true}}, {});
  expect_refused("cookie", {}, {}, kSleep, Attr::kNoKernelMapping);
  expect_refused("architecture's allocator", {.dma = {.arch_has_dma_alloc = true}}, {.coherent = false});
  expect_refused("global pool", {.dma = {.global_pool = true}}, {.coherent = false});
  expect_refused("atomic pool", {}, {.coherent = false}, mm::kGfpAtomic);
  expect_refused("restricted pool", {}, {.restricted_pool = true});
  expect_refused("restricted pool, no kernel mapping", {}, {.restricted_pool = true}, kSleep,
                 Attr::kNoKernelMapping);
  expect_refused("device memory", {}, {.coherent_memory = true});
}

TEST(Preserve, OptionsThatConcernIncoherentDevicesDoNotConcernCoherentOnes) {
  System system({.dma = {.arch_has_dma_alloc = true, .global_pool = true}});
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(8), kSleep));
  must(unpreserve_allocation(device, must(preserve_allocation(device, memory, Attr::kNone))));
  must(free_coherent(device, memory));
}

// 74, row 8
TEST(Preserve, AHandleNoWindowTranslatesIsRefused) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(8), kSleep));
  Device moved = system.device();
  must(moved.set_bus_windows({{PhysAddr{0}, DmaAddr{GiB(100)}, KiB(64)}}));
  EXPECT_EQ(error_of(preserve_allocation(moved, memory, Attr::kNone)), EOPNOTSUPP);
  must(free_coherent(device, memory));
}

TEST(Preserve, ADeviceThatMovedBehindAnIommuIsRefused) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(8), kSleep));
  Device moved = system.device({.iommu = true});
  EXPECT_EQ(error_of(preserve_allocation(moved, memory, Attr::kNone)), EOPNOTSUPP);
}

TEST(Preserve, SharedMemoryWithoutAWishForAMappingCanBePreserved) {
  System system;
  Device device = system.device({.force_unencrypted = true});
  Coherent memory = must(alloc_attrs(device, KiB(8), kSleep, Attr::kNoKernelMapping));
  must(unpreserve_allocation(device, must(preserve_allocation(device, memory, Attr::kNoKernelMapping))));
  must(free_attrs(device, memory, Attr::kNoKernelMapping));
}

TEST(Preserve, WhatIsNotAnAllocationIsEinval) {
  System system;
  Device device = system.device();
  Device other = system.device({}, "0000:00:02.0");
  Coherent memory = must(alloc_coherent(device, KiB(8), kSleep));
  Coherent wrong = memory;
  wrong.size = 0;
  EXPECT_EQ(error_of(preserve_allocation(device, wrong, Attr::kNone)), EINVAL);
  wrong.size = KiB(4);
  EXPECT_EQ(error_of(preserve_allocation(device, wrong, Attr::kNone)), EINVAL);
  wrong = memory;
  wrong.cpu = memory.as<std::byte>() + kPageSize;
  EXPECT_EQ(error_of(preserve_allocation(device, wrong, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(preserve_allocation(other, memory, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(preserve_allocation(device, memory, Attr::kPrivileged)), EINVAL);
  must(free_coherent(device, memory));
}

// 75
TEST(Preserve, AFailingRecordLeavesNothingBehind) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  const Tree before(system);
  {
    FailingStep failing("dma.record.alloc_page", ENOMEM);
    EXPECT_EQ(error_of(preserve_allocation(device, memory, Attr::kNone)), ENOMEM);
  }
  EXPECT_EQ(Tree(system), before);
  must(unpreserve_allocation(device, must(preserve_allocation(device, memory, Attr::kNone))));
  must(free_coherent(device, memory));
}

// 75: every step of KHO that can fail, at each of its hits, so at every level of the tree.
TEST(Preserve, AFailureAtAnyStepOfKhoLeavesNothingBehind) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  unsigned failures = 0;
  for (const point::Point* step : point::list()) {
    std::string_view name = step->name;
    if (step->kind != point::Kind::kFailable || !name.starts_with("kho.")) continue;
    for (unsigned nth = 1; nth < 16; ++nth) {
      SCOPED_TRACE(std::string(name) + " at hit " + std::to_string(nth));
      System system;
      Device device = system.device();
      // Far away from what KHO has preserved for itself: the path in the tree is new.
      Coherent memory = must(alloc_coherent(device, MiB(1), kSleep));
      const Tree before(system);
      const uint64_t free_before = system.free_pages();
      Result<Token> token = fail(EINVAL, "not tried");
      unsigned hits;
      {
        FailingStep failing(step->name, ENOMEM, nth);
        token = preserve_allocation(device, memory, Attr::kNone);
        hits = failing.hits();
      }
      if (token) {
        must(unpreserve_allocation(device, *token));
      } else {
        ++failures;
        EXPECT_EQ(error_of(token), ENOMEM);
        EXPECT_EQ(Tree(system), before);
        EXPECT_LE(free_before - system.free_pages(), 6u) << "at most the nodes of the record page's path";
        must(unpreserve_allocation(device, must(preserve_allocation(device, memory, Attr::kNone))));
      }
      must(free_coherent(device, memory));
      if (hits < nth) break;
    }
  }
  EXPECT_GE(failures, 1u);
}

// 82
TEST(Preserve, TwiceIsEbusy) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  Token token = must(preserve_allocation(device, memory, Attr::kNone));
  const Tree before(system);
  EXPECT_EQ(error_of(preserve_allocation(device, memory, Attr::kNone)), EBUSY);
  EXPECT_EQ(Tree(system), before);
  must(unpreserve_allocation(device, token));
  must(free_coherent(device, memory));
}

// 82
TEST(Preserve, FreeingWhatIsPreservedIsRefusedAndLogged) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  Token token = must(preserve_allocation(device, memory, Attr::kNone));
  uint64_t before = system.free_pages();
  log::Capture capture;
  EXPECT_EQ(error_of(free_coherent(device, memory)), EBUSY);
  EXPECT_TRUE(capture.contains("preserved"));
  EXPECT_EQ(system.free_pages(), before);
  must(unpreserve_allocation(device, token));
  must(free_coherent(device, memory));
}

// 82
TEST(Unpreserve, TwiceIsDiagnosedAndHarmless) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  Coherent other = must(alloc_coherent(device, KiB(20), kSleep));
  Token token = must(preserve_allocation(device, memory, Attr::kNone));
  must(preserve_allocation(device, other, Attr::kNone));
  must(unpreserve_allocation(device, token));
  const Tree before(system);
  log::Capture capture;
  EXPECT_EQ(error_of(unpreserve_allocation(device, token)), EINVAL);
  EXPECT_TRUE(capture.contains("spent"));
  EXPECT_EQ(Tree(system), before);
  EXPECT_EQ(system.dma().stats().preserved, 1u);
}

TEST(Unpreserve, TokensOfNobodyAndOfOthersAreDiagnosedAndHarmless) {
  System system;
  Device device = system.device();
  Device other = system.device({}, "0000:00:02.0");
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  Token token = must(preserve_allocation(device, memory, Attr::kNone));
  const Tree before(system);
  EXPECT_EQ(error_of(unpreserve_allocation(device, Token::kNone)), EINVAL);
  EXPECT_EQ(error_of(unpreserve_allocation(device, Token{0x123456789})), EINVAL);
  EXPECT_EQ(error_of(unpreserve_allocation(other, token)), EINVAL);
  EXPECT_EQ(Tree(system), before);
  must(unpreserve_allocation(device, token));
}

TEST(Unpreserve, WithoutKhoThereIsNothingToDo) {
  System system({.kho = false});
  Device device = system.device();
  EXPECT_EQ(error_of(unpreserve_allocation(device, Token{0x1040})), 0);
}

// 84
TEST(Preserve, ASinglePageIsSymmetricWhateverItsNeighbourIs) {
  for (kho::Format format : {kho::Format::kV4, kho::Format::kTyped}) {
    System system({.format = format});
    Device device = system.device();
    std::vector<Coherent> pages;
    for (unsigned i = 0; i < 8; ++i) pages.push_back(must(alloc_coherent(device, KiB(4), kSleep)));
    for (unsigned i = 0; i < 8; i += 3) must(free_coherent(device, pages[i]));
    for (unsigned i : {1u, 2u, 4u, 5u, 7u}) {
      const Tree before(system);
      Token token = must(preserve_allocation(device, pages[i], Attr::kNone));
      if (i == 1) {
        must(free_coherent(device, pages[2]));
        pages[2] = must(alloc_coherent(device, KiB(4), kSleep));
      }
      must(unpreserve_allocation(device, token));
      EXPECT_EQ(Tree(system), before) << "page " << i;
    }
  }
}

}  // namespace
}  // namespace causeway::dma::testing
