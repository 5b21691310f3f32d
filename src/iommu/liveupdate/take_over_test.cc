// The new kernel's side: what comes back, what is refused, and when the old handover may go.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "iommu/liveupdate/testing/system.h"

namespace causeway::iommu::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kDisk = 0x10'0000;
constexpr uint64_t kNic = 0x20'0000;

class TakeOver : public ::testing::Test {
 protected:
  LiveUpdate& lu() { return system->live_update; }
  void hand_over_two() {
    must(system->hand_over(system->device(1), kDisk));
    must(system->hand_over(system->device(2), kNic));
  }
  // All devices of the fake unit that the old kernel preserved, by their attachment ids (of VT-d: domain ids).
  std::vector<uint64_t> attachments() {
    std::vector<uint64_t> ids;
    lu().for_each_device_of(system->driver.fake_unit().token(),
                            [&](abi::DeviceSer& device) { ids.push_back(device.map.attachment_id); });
    return ids;
  }
  System system;
};

TEST_F(TakeOver, DevicesComeBackOnTheirDomainsAndUntouched) {
  hand_over_two();
  system.kexec();
  EXPECT_EQ(error_of(system->retrieved), 0);
  system->driver.take_journal();
  EXPECT_TRUE(system->translates(system->device(1), kDisk));
  EXPECT_TRUE(system->translates(system->device(2), kNic));
  for (const std::string& line : system->driver.take_journal()) EXPECT_FALSE(line.starts_with("attach")) << line;
  EXPECT_THAT(lu().damage(), IsEmpty());
  EXPECT_EQ(lu().find_device(0, Bdf(0, 3, 0)), nullptr);
  EXPECT_EQ(lu().find_device(1, Bdf(0, 1, 0)), nullptr);
  EXPECT_EQ(lu().find_unit(1, abi::UnitType::kIntel), nullptr);
  EXPECT_EQ(lu().find_unit(system->driver.fake_unit().token(), abi::UnitType::kArmSmmuV3), nullptr);
  EXPECT_EQ(error_of(lu().retrieve(Carrier::kStanding, *system->incoming)), EBUSY);
}

// The ids that the driver has to keep out of its allocator; they are there whatever becomes of the devices, until release().
TEST_F(TakeOver, Scenario78IdsOfPreservedDevicesAreKnown) {
  hand_over_two();
  system.kexec();
  EXPECT_THAT(attachments(), UnorderedElementsAre(0x108, 0x110));
  system->core.release_device(system->device(1));
  EXPECT_THAT(attachments(), UnorderedElementsAre(0x108, 0x110));
  lu().for_each_device_of(1, [](abi::DeviceSer&) { ADD_FAILURE() << "another unit's device"; });
}

TEST_F(TakeOver, Scenario74TwoDevicesOnOneDomainShareTheRestoredOne) {
  Domain& shared = system->unmanaged(system->device(1), this);
  system->attach(shared, system->device(2), this);
  for (unsigned number : {1u, 2u}) must(system->hand_over_again(system->device(number), 0x123456));
  system->map(shared, kDisk, 3);
  system.kexec();
  Device &first = system->device(1), &second = system->device(2);
  EXPECT_EQ(&system->domain_of(first), &system->domain_of(second));
  EXPECT_TRUE(system->translates(first, kDisk, 3));
  EXPECT_EQ(lu().domain_of(*lu().find_device(0, first.bdf())), lu().domain_of(*lu().find_device(0, second.bdf())));
  EXPECT_EQ(first.group().restored_token(), 0x123456u);
}

TEST_F(TakeOver, Scenario73ThreeHundredDevices) {
  auto bdf = [](unsigned i) { return Bdf(1 + i / 32, i % 32, i % 8); };
  for (unsigned i = 0; i < 300; ++i) must(system->hand_over(system->device(bdf(i)), MiB(1) + i * KiB(64)));
  system.kexec();
  EXPECT_EQ(attachments().size(), 300u);
  for (unsigned i = 0; i < 300; ++i) ASSERT_TRUE(system->translates(system->device(bdf(i)), MiB(1) + i * KiB(64))) << i;
  EXPECT_EQ(lu().find_unit(system->driver.fake_unit().token(), abi::UnitType::kIntel)->hdr.ref_count, 300u);
}

// Restored, preserved again, restored again: the same tables three kernels long, and not a page lost.
TEST_F(TakeOver, GenerationAfterGeneration) {
  must(system->hand_over(system->device(1), kDisk));
  const uint64_t preserved = system->preserved();
  const PhysAddr top = system->domain_of(system->device(1)).page_table()->root().top;
  for (int generation = 0; generation < 4; ++generation) {
    SCOPED_TRACE(generation);
    system.kexec();
    Device& disk = system->device(1);
    ASSERT_TRUE(system->translates(disk, kDisk));
    EXPECT_EQ(system->domain_of(disk).page_table()->root().top, top);
    must(system->hand_over_again(disk));
    EXPECT_EQ(system->preserved(), preserved);
    lu().release(Carrier::kStanding);
    system->commit();
    EXPECT_EQ(system->pages.pages(), 4u + 2);
    EXPECT_THAT(system->generation.kho->unrestored(), IsEmpty());
  }
}

// Before the commit the old handover counts: a restored domain keeps the shape that it has there, and its arrays stay.
TEST_F(TakeOver, NothingOfTheOldHandoverGoesBeforeTheCommit) {
  must(system->hand_over(system->device(1), kDisk));
  system.kexec();
  Domain& domain = system->domain_of(system->device(1));
  const uint64_t pages = system->pages.pages();
  must(system->hand_over_again(system->device(1)));
  lu().release(Carrier::kStanding);
  EXPECT_EQ(lu().find_device(0, Bdf(0, 1, 0)), nullptr);
  EXPECT_EQ(system->pages.pages(), pages);
  EXPECT_EQ(error_of(domain.map(Iova(0x9000), PhysAddr(0x9000), kPageSize, kRead)), EBUSY);
  system->commit();
  EXPECT_EQ(system->pages.pages(), pages - 4);
  must(domain.map(Iova(0x9000), PhysAddr(0x9000), kPageSize, kRead));
  // What was mapped after the commit is in the handover too.
  system.crash();
  EXPECT_TRUE(system->translates(system->device(1), kDisk));
  EXPECT_EQ(system->domain_of(system->device(1)).iova_to_phys(Iova(0x9000)), PhysAddr(0x9000));
}

TEST_F(TakeOver, KernelThatDiesBeforeItsCommitLeavesTheHandoverItFound) {
  hand_over_two();
  system->commit();
  for (int attempt = 0; attempt < 3; ++attempt) {
    system.crash();
    must(std::move(system->retrieved));
    ASSERT_TRUE(system->translates(system->device(1), kDisk));
    if (attempt > 0) must(system->hand_over_again(system->device(1)));
    if (attempt > 1) lu().release(Carrier::kStanding);
    EXPECT_EQ(attachments().size(), attempt > 1 ? 0u : 2u);
  }
}

// What is given up is skipped, and its memory is not reserved.
TEST_F(TakeOver, Scenario72GivenUpSlotsAreSkipped) {
  hand_over_two();
  Device& disk = system->device(1);
  lu().unpreserve_device(disk);
  lu().unpreserve_domain(system->domain_of(disk));
  must(system->hand_over_again(disk));
  lu().unpreserve_device(system->device(2));
  lu().unpreserve_domain(system->domain_of(system->device(2)));
  system.kexec();
  EXPECT_THAT(attachments(), ElementsAre(0x108));
  EXPECT_TRUE(system->translates(system->device(1), kDisk));
  EXPECT_EQ(system->domain_of(system->device(2)).iova_to_phys(Iova(kPageSize)), std::nullopt);
  lu().release(Carrier::kStanding);
  system->commit();
  EXPECT_THAT(system->generation.kho->unrestored(), IsEmpty());
}

// -- Refusals

TEST_F(TakeOver, Scenario81AnotherVersionIsRefusedWithItsReason) {
  hand_over_two();
  system.kexec({.damage = [](kho::TestMachine& machine, PhysAddr where) {
    machine.at<abi::IommuFlbSer>(where)->version = 9;
  }});
  EXPECT_EQ(error_of(system->retrieved), EPROTONOSUPPORT);
  ASSERT_EQ(lu().damage().size(), 1u);
  EXPECT_NE(lu().damage()[0].find("the standing carrier is not taken over"), std::string::npos) << lu().damage()[0];
  EXPECT_NE(lu().damage()[0].find("version"), std::string::npos);
  EXPECT_EQ(lu().find_unit(system->driver.fake_unit().token(), abi::UnitType::kIntel), nullptr);
  // Everything the old kernel named stays reserved: the hardware may be reading it.
  EXPECT_FALSE(system->generation.kho->unrestored().empty());
}

// The software's part of a failure is undone; its hardware is not touched, and no other domain takes the place.
TEST_F(TakeOver, Scenario82DomainThatCannotBeRestoredIsRefusedForGood) {
  hand_over_two();
  const PhysAddr top = system->domain_of(system->device(1)).page_table()->root().top;
  system.kexec();
  // Somebody has taken a table of the disk's.
  must(system->pages.restore(PhysAddr(*system.machine().at<uint64_t>(top)), kOrder0));
  system->driver.take_journal();
  auto probed = system->core.probe_device({.bdf = Bdf(0, 1, 0), .name = "disk"});
  EXPECT_EQ(error_of(probed), EIO);
  EXPECT_EQ(system->core.find(0, Bdf(0, 1, 0)), nullptr);
  for (const std::string& line : system->driver.take_journal())
    EXPECT_FALSE(line.starts_with("attach") || line.starts_with("restore")) << line;
  ASSERT_FALSE(lu().damage().empty());
  EXPECT_NE(lu().damage()[0].find("the domain of disk is not restored"), std::string::npos) << lu().damage()[0];
  // The other device does not suffer.
  EXPECT_TRUE(system->translates(system->device(2), kNic));
}

TEST_F(TakeOver, EveryDeviceOfADomainThatFailedGetsTheSameError) {
  hand_over_two();
  system.kexec();
  Device& helper = system->device(9);  // for its driver
  abi::DeviceSer& ser = *lu().find_device(0, Bdf(0, 1, 0));
  system->driver.fail(FakeDriver::Step::kAllocRestored, 1, ENOMEM);
  EXPECT_EQ(error_of(lu().restored_domain(helper, ser, DomainType::kDma)), ENOMEM);
  EXPECT_EQ(error_of(lu().restored_domain(helper, ser, DomainType::kDma)), ENOMEM);
  EXPECT_EQ(lu().damage().size(), 1u);
  abi::DeviceSer stranger{};
  EXPECT_EQ(error_of(lu().restored_domain(helper, stranger, DomainType::kDma)), ENODATA);
}

TEST_F(TakeOver, EveryStepMayFail) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  must(system->hand_over(system->device(1), kDisk));
  system->commit();
  for (const char* point : {"iommu.state.retrieve", "iommu.live_update.alloc_restored", "iommu.live_update.restore_table"}) {
    SCOPED_TRACE(point);
    {
      FailingStep step(point, EIO);
      system.crash();
      auto probed = system->core.probe_device({.bdf = Bdf(0, 1, 0), .name = "disk"});
      EXPECT_EQ(step.hits(), 1u);
      EXPECT_FALSE(lu().damage().empty());
      if (system->retrieved.has_value()) {
        EXPECT_EQ(error_of(probed), EIO);
      }
    }
    system.crash();  // and the handover is as it was
    EXPECT_TRUE(system->translates(system->device(1), kDisk));
  }
}

TEST_F(TakeOver, CarriersMustNotContradictEachOther) {
  const PhysAddr session = must(lu().create(Carrier::kSession));
  Device& guest = system->device(3);
  Domain& own = system->unmanaged(guest, this);
  must(lu().preserve_domain(Carrier::kSession, own));
  must(lu().preserve_device(Carrier::kSession, own, guest, 1));
  hand_over_two();
  auto device_in = [&](PhysAddr where) {
    const auto* ser = system.machine().at<abi::IommuFlbSer>(where);
    return reinterpret_cast<abi::DeviceSer*>(system.machine().at<std::byte>(PhysAddr(ser->device_array_phys)) + 16);
  };
  auto at = [&]<typename T>(uint64_t phys, T*) { return system.machine().at<T>(PhysAddr(phys)); };
  abi::DeviceSer* theirs = device_in(session);
  abi::DeviceSer* standing = device_in(system->standing);
  auto* domain = at(theirs->map.domain_phys, static_cast<abi::DomainSer*>(nullptr));
  auto* unit = at(theirs->map.iommu_phys, static_cast<abi::IommuHwSer*>(nullptr));
  const uint64_t top = domain->top_table_phys;
  system->commit();

  theirs->devid = uint32_t{standing->devid};
  system.crash();
  EXPECT_EQ(error_of(lu().retrieve(Carrier::kSession, session)), EBADMSG);
  EXPECT_EQ(lu().damage().size(), 1u);
  theirs->devid = guest.bdf().value();

  domain->top_table_phys = at(standing->map.domain_phys, domain)->top_table_phys;
  system.crash();
  EXPECT_EQ(error_of(lu().retrieve(Carrier::kSession, session)), EBADMSG);
  domain->top_table_phys = top;

  unit->intel.root_table = 0x7000;
  system.crash();
  EXPECT_EQ(error_of(lu().retrieve(Carrier::kSession, session)), EBADMSG);
  unit->intel.root_table = 0;

  system.crash();
  EXPECT_EQ(error_of(lu().retrieve(Carrier::kSession, session)), 0);
  EXPECT_THAT(attachments(), UnorderedElementsAre(0x108, 0x110, 0x118));
}

TEST(Standing, IsFoundWhereItWasPublished) {
  System system;
  kho::Kho* kho = system->generation.kho.get();
  EXPECT_EQ(error_of(find_standing(*kho)), ENOENT);  // a cold boot
  must(publish_standing(*kho, system->standing));
  EXPECT_EQ(error_of(publish_standing(*kho, system->standing)), EEXIST);
  unpublish_standing(*kho, system->standing);
  const PhysAddr where = system->standing;
  system.kexec();
  EXPECT_EQ(must(find_standing(*system->generation.kho)), where);
  // A blob that is too small.
  auto* small = must(system->generation.kho->alloc_preserve(64));
  must(system->generation.kho->add_subtree(abi::kCompatible, small, 31));
  system->generation.commit();
  kho::Generation next(system.machine());
  EXPECT_EQ(error_of(find_standing(*next.kho)), EBADMSG);
}

}  // namespace
}  // namespace causeway::iommu::testing
