// The driver's lower half against the model of the unit, with a DMA engine behind it.
#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/vtd/dmar.h"
#include "iommu/vtd/fault_log.h"
#include "iommu/vtd/flush.h"
#include "iommu/vtd/pasid_table.h"
#include "iommu/vtd/root_table.h"
#include "machine/machine.h"
#include "mm/boot_memory.h"
#include "platform/testing/machine.h"

namespace causeway::iommu::vtd {
namespace {

using namespace hw::vtd;
namespace engine = hw::dma_engine;
using machine::testing::eventually;

constexpr Bdf kEngine(0, 1, 0);
constexpr Bdf kAbsent(0, 9, 0);

class HardwareTest : public ::testing::TestWithParam<TableMode> {
 protected:
  void start(machine::IommuSpec spec) {
    spec.scalable = GetParam() == TableMode::kScalable;
    spec.strict = 0;
    hardware = must(machine::Machine::create({.ram = MiB(64), .iommus = {spec}, .line_flushes = &lines}));
    platform = must(platform::Platform::attach(hardware->connect()));
    map = std::make_unique<mm::MemMap>(must(mm::MemMap::create(platform->direct_map())));
    for (const platform::RamRange& ram : platform->ram()) must(boot.add({ram.base, ram.size}));
    must(boot.reserve({PhysAddr(0), MiB(1)}));
    allocator = must(mm::PageAllocator::create(*map));
    allocator->take_over(boot);
    pages = std::make_unique<IommuPages>(*allocator, nullptr);
    TableMemory::FlushCache flush_cache;
    if (!spec.coherent) {
      flush_cache = [this](const void* from, uint64_t bytes) {
        lines.flushed(platform->direct_map().to_phys(from), bytes);
      };
    }
    memory = std::make_unique<TableMemory>(*pages, flush_cache);
    DmarTable dmar = must(parse_dmar(platform->firmware_table()));
    const DmarUnit* unit = dmar.unit_of(0, kEngine);
    ASSERT_NE(unit, nullptr);
    regs = must(UnitRegisters::create(platform->mmio().window(unit->register_base, kRegisterBytes), "dmar0"));
    invalidator = must(Invalidator::create(*regs, *pages, {.wide = spec.scalable, .is_present = [this](Bdf bdf) {
                                             for (auto& function : platform->pci().scan())
                                               if (function.bdf() == bdf) return true;
                                             return false;
                                           }}));
    flush = std::make_unique<Flush>(*regs, *invalidator);
    root = must(RootTable::create(*memory, GetParam()));
    must(regs->set_root(root->phys(), GetParam()));
    must(flush->flush_all(GetParam()));
  }

  // All of memory at its own address, in pages of 2 MiB.
  PhysAddr identity_tables() {
    TableWord* top = must(pages->allocate(kOrder0));
    TableWord* third = must(pages->allocate(kOrder0));
    for (uint64_t i = 0; i < 5; ++i) {
      leaves[i] = must(pages->allocate(kOrder0));
      for (uint64_t j = 0; j < 512; ++j)
        memory->store(leaves[i] + j,
                      (i * 512 + j) * MiB(2) | SecondRead::kMask | SecondWrite::kMask | SecondLarge::kMask);
      memory->flush(leaves[i], kPageSize);
      memory->store(third + i, pages->phys(leaves[i]).value() | 3);
    }
    memory->flush(third, kPageSize);
    memory->store(top, pages->phys(third).value() | 3);
    memory->flush(top, kPageSize);
    return pages->phys(top);
  }
  void attach(PhysAddr top, DomainId domain) {
    if (GetParam() == TableMode::kLegacy) {
      must(root->slot(kEngine)).set(LegacyContext{.width = 2, .top = top, .domain = domain});
      return;
    }
    if (!pasids) {
      pasids = must(PasidTable::create(*memory, 0, regs->caps()));
      must(root->slot(kEngine))
          .set(ScalableContext{.directory_size = pasids->directory_size(), .directory = pasids->directory()});
    }
    must(pasids->set(kNoPasid, second_stage_entry(domain, top, 2, regs->caps())));
  }
  void detach(DomainId domain) {
    if (GetParam() == TableMode::kLegacy) {
      must(root->slot(kEngine)).clear();
      must(flush->flush_context_device(domain, kEngine));
    } else {
      pasids->retire(kNoPasid);
      must(flush->flush_pasid_cache(domain, kNoPasid));
    }
    must(flush->flush_iotlb_domain(domain));
    if (pasids) pasids->wipe(kNoPasid);
  }

  void start_engine() {
    registers = std::make_unique<platform::testing::PlatformRegisters>(*platform, kEngine);
    driver = std::make_unique<machine::testing::MiniDriver>(*registers);
    rings = page();
    driver->reset();
    driver->set_up(engine::kWorkQueue, rings, 4);
  }
  PhysAddr page() { return pages->phys(must(pages->allocate(kOrder0))); }
  // A copy through the unit, with its answer in memory: did the bytes arrive?
  bool copies() {
    PhysAddr from = page(), to = page();
    *pages->virt(from) = 0x1122'3344'5566'7788;
    const uint64_t faults_before = faults ? faults->stats().faults : 0;
    driver->post(engine::kWorkQueue,
                 {.source = from.value(), .destination = to.value(), .length = 8, .op = engine::Op::kCopy});
    bool arrived = false;
    EXPECT_TRUE(eventually([&] {
      arrived = std::atomic_ref(*pages->virt(to)).load() != 0;
      return arrived || (faults && faults->stats().faults > faults_before);
    }));
    return arrived;
  }

  void expect_that_a_flush_makes_it_look_again() {
    faults = must(FaultLog::create(*regs, platform->interrupts(), {}));
    platform->interrupts().start();
    attach(identity_tables(), DomainId{2});
    must(regs->enable_translation());
    start_engine();
    EXPECT_TRUE(copies());
    for (TableWord* table : leaves)
      for (unsigned i = 0; i < 512; ++i) memory->store(table + i, 0);
    EXPECT_TRUE(copies()) << "still in the IOTLB";
    must(flush->flush_iotlb_pages(DomainId{2}, Iova(rings.value()), kPageSize, Hint::kLeafOnly));
    EXPECT_FALSE(copies());
    platform->interrupts().stop();
  }

  log::Capture quiet;
  machine::LineFlushes lines;
  std::unique_ptr<machine::Machine> hardware;
  std::unique_ptr<platform::Platform> platform;
  mm::BootMemory boot;
  std::unique_ptr<mm::MemMap> map;
  std::unique_ptr<mm::PageAllocator> allocator;
  std::unique_ptr<IommuPages> pages;
  std::unique_ptr<TableMemory> memory;
  std::unique_ptr<UnitRegisters> regs;
  std::unique_ptr<Invalidator> invalidator;
  std::unique_ptr<Flush> flush;
  std::unique_ptr<RootTable> root;
  std::unique_ptr<PasidTable> pasids;
  std::unique_ptr<FaultLog> faults;
  std::unique_ptr<platform::testing::PlatformRegisters> registers;
  std::unique_ptr<machine::testing::MiniDriver> driver;
  PhysAddr rings{};
  TableWord* leaves[5] = {};
};
INSTANTIATE_TEST_SUITE_P(Modes, HardwareTest, ::testing::Values(TableMode::kLegacy, TableMode::kScalable),
                         [](const auto& mode) { return mode.param == TableMode::kLegacy ? "Legacy" : "Scalable"; });

// Scenario 20, with the unit's own idea of errors.
TEST_P(HardwareTest, TheQueueGoesOnAfterABadDescriptorAndAnAbsentDevice) {
  start({});
  QueueDescriptor bad{{0xd}};
  for (unsigned i = 0; i < 5; ++i) {
    EXPECT_EQ(error_of(invalidator->submit({&bad, 1})), EINVAL);
    must(flush->flush_iotlb_global());
    EXPECT_EQ(error_of(flush->flush_device_tlb(kAbsent, 0)), ETIMEDOUT);
    must(flush->flush_context_global());
  }
  EXPECT_EQ(invalidator->stats().errors, 5u);
  EXPECT_EQ(invalidator->stats().timeouts, 5u);
  must(invalidator->disable());
}

TEST_P(HardwareTest, ThreadsAreNotDisturbedByEachOthersErrors) {
  start({});
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 200; ++i) {
        FlushBatch batch(*flush);
        batch.iotlb_domain(DomainId{5});
        if (t == 0 && i % 4 == 0) batch.add({{0xd}});
        if (t == 1 && i % 4 == 0) batch.device_tlb(kAbsent, 0);
        batch.iotlb_pages(DomainId{6}, Iova{0x1000 * i}, KiB(8), Hint::kTablesToo);
        int want = i % 4 != 0 ? 0 : t == 0 ? EINVAL : t == 1 ? ETIMEDOUT : 0;
        EXPECT_EQ(error_of(batch.submit()), want) << t;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(invalidator->stats().errors, 50u);
  EXPECT_EQ(invalidator->stats().timeouts, 50u);
}

// Scenario 15 as the driver sees it, and the tables it writes as the unit reads them.
TEST_P(HardwareTest, DmaIsTranslatedByOurTablesAndAFaultIsReported) {
  start({});
  std::mutex mutex;
  std::vector<FaultReport> reported;
  faults = must(FaultLog::create(*regs, platform->interrupts(), [&](const FaultReport& fault) {
    std::lock_guard lock(mutex);
    reported.push_back(fault);
  }));
  platform->interrupts().start();
  attach(identity_tables(), DomainId{2});
  must(regs->enable_translation());
  start_engine();
  EXPECT_TRUE(copies());
  EXPECT_EQ(faults->stats().faults, 0u);
  detach(DomainId{2});
  EXPECT_FALSE(copies());
  platform->interrupts().stop();
  ASSERT_FALSE(reported.empty());
  EXPECT_EQ(reported[0].source, kEngine);
  EXPECT_EQ(reported[0].reason, GetParam() == TableMode::kLegacy ? kContextNotPresent : kPasidEntryNotPresent);
  EXPECT_FALSE(reported[0].text.empty());
  EXPECT_EQ(reported[0].address.value() & kPageMask, rings.value()) << "of the descriptor it wanted to fetch";
  EXPECT_FALSE(reported[0].write);
  EXPECT_EQ(regs->read32(kFaultStatus) & (FaultPending::kMask | FaultOverflow::kMask), 0u) << "all is cleared";
}

// Spec 2.5: what was cached goes with the flush, and not before.
TEST_P(HardwareTest, AFlushMakesTheUnitLookAgain) {
  start({});
  expect_that_a_flush_makes_it_look_again();
}
TEST_P(HardwareTest, AFlushByRegistersDoesToo) {
  if (GetParam() == TableMode::kScalable) GTEST_SKIP() << "scalable mode is flushed by the queue alone";
  start({.queued_invalidation = false});
  expect_that_a_flush_makes_it_look_again();
}

// Scenario 29: a unit that does not snoop finds everything, because every line was flushed.
TEST_P(HardwareTest, AUnitThatDoesNotSnoopSeesWhatWasFlushed) {
  start({.coherent = false});
  EXPECT_FALSE(regs->caps().coherent());
  faults = must(FaultLog::create(*regs, platform->interrupts(), {}));
  platform->interrupts().start();
  attach(identity_tables(), DomainId{2});
  must(regs->enable_translation());
  start_engine();
  EXPECT_TRUE(copies());
  detach(DomainId{2});
  // The negative control: the same entry without the flush is one that the unit does not see.
  TableMemory silent(*pages, nullptr);
  if (GetParam() == TableMode::kLegacy) {
    ContextSlot(silent, GetParam(), const_cast<TableWord*>(must(root->slot(kEngine)).words()))
        .set(LegacyContext{.width = 2, .top = identity_tables(), .domain = DomainId{3}});
  } else {
    TableWord* table = pages->virt(PhysAddr(*pages->virt(pasids->directory()) & kAddressMask));
    silent.publish(table, encode(second_stage_entry(DomainId{3}, identity_tables(), 2, regs->caps())));
  }
  EXPECT_FALSE(copies());
  platform->interrupts().stop();
}

// 7.1: a second kernel takes the unit over with translation on; DMA goes on through the same tables.
TEST_P(HardwareTest, TheNextKernelTakesOverWithoutAGap) {
  start({});
  attach(identity_tables(), DomainId{2});
  must(regs->enable_translation());
  start_engine();
  EXPECT_TRUE(copies());
  auto next = must(UnitRegisters::create(platform->mmio().window(hw::kIommuBase, kRegisterBytes), "dmar0"));
  EXPECT_TRUE(next->translation_enabled());
  must(next->quiesce());
  auto queue = must(Invalidator::create(*next, *pages, {.wide = GetParam() == TableMode::kScalable}));
  Flush again(*next, *queue);
  auto old = must(next->root());
  EXPECT_EQ(old.address, root->phys());
  EXPECT_EQ(old.mode, GetParam());
  must(next->set_root(old.address, old.mode));
  must(again.flush_all(old.mode));
  must(next->enable_translation());
  EXPECT_TRUE(copies());
}

// Scenario 16, the driver's part.
TEST_P(HardwareTest, FaultsFromBeforeAreReportedAndLostOnesCounted) {
  start({.fault_records = 2});
  must(regs->enable_translation());
  start_engine();
  // Nobody listens yet. Every try to fetch a descriptor is a fault; the third finds no free record.
  auto recorded = [&](unsigned record) {
    return RecordFault::get(regs->read64(regs->caps().fault_record_offset() + record * kFaultRecordBytes + 8)) != 0;
  };
  for (unsigned i = 0; i < 3; ++i) {
    driver->post(engine::kWorkQueue, {.source = 0, .destination = 0, .length = 8, .op = engine::Op::kCopy});
    ASSERT_TRUE(eventually(
        [&] { return i < 2 ? recorded(i) : FaultOverflow::get(regs->read32(kFaultStatus)) != 0; })) << i;
    driver->reset();
    driver->set_up(engine::kWorkQueue, rings, 4);
  }
  faults = must(FaultLog::create(*regs, platform->interrupts(), {}));
  EXPECT_EQ(faults->stats().faults, 2u) << "those made before are reported too";
  EXPECT_EQ(faults->stats().overflows, 1u);
  EXPECT_EQ(regs->read32(kFaultStatus) & (FaultPending::kMask | FaultOverflow::kMask), 0u);
}

}  // namespace
}  // namespace causeway::iommu::vtd
