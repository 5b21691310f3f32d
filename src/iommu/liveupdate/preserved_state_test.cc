#include "iommu/liveupdate/preserved_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "base/log.h"
#include "iommu/liveupdate/testing/arrays.h"

namespace causeway::iommu::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The offsets of the posted series, which another implementation reads by.
TEST(PreservedLayout, IsThatOfTheSeries) {
  EXPECT_EQ(offsetof(abi::IommuFlbSer, iommu_array_phys), 8u);
  EXPECT_EQ(offsetof(abi::IommuFlbSer, iommu_domain_array_phys), 16u);
  EXPECT_EQ(offsetof(abi::IommuFlbSer, device_array_phys), 24u);
  EXPECT_EQ(offsetof(abi::IommuArrayHdrSer, nr_objects), 8u);
  EXPECT_EQ(offsetof(abi::DomainSer, top_table_phys), 8u);
  EXPECT_EQ(offsetof(abi::DomainSer, top_level), 16u);
  EXPECT_EQ(offsetof(abi::DomainSer, vasz), 24u);
  EXPECT_EQ(offsetof(abi::DomainSer, sign_extend), 28u);
  EXPECT_EQ(offsetof(abi::DomainSer, restored_domain), 32u);
  EXPECT_EQ(offsetof(abi::DeviceSer, devid), 8u);
  EXPECT_EQ(offsetof(abi::DeviceSer, pci_domain_nr), 12u);
  EXPECT_EQ(offsetof(abi::DeviceSer, dma_owner_token), 16u);
  EXPECT_EQ(offsetof(abi::DeviceSer, intel) + offsetof(abi::DeviceIntelSer, pasid_table), 56u);
  EXPECT_EQ(offsetof(abi::IommuHwSer, token), 8u);
  EXPECT_EQ(offsetof(abi::IommuHwSer, type), 16u);
  EXPECT_EQ(offsetof(abi::IommuHwSer, intel) + offsetof(abi::IommuIntelSer, root_table), 40u);
  EXPECT_EQ(offsetof(abi::IommuHwSer, intel) + offsetof(abi::IommuIntelSer, context_tables_bitmap), 48u);
  EXPECT_EQ(per_page(RecordKind::kUnit), 36u);
  EXPECT_EQ(per_page(RecordKind::kDomain), 102u);
  EXPECT_EQ(per_page(RecordKind::kDevice), 56u);
}

class PreservedStateTest : public ::testing::Test {
 protected:
  static std::vector<uint32_t> devids(PreservedState& state) {
    std::vector<uint32_t> ids;
    state.for_each<abi::DeviceSer>([&](abi::DeviceSer& device) { ids.push_back(device.devid); });
    return ids;
  }
  kho::TestMachine machine;
};

TEST_F(PreservedStateTest, AFailureLeavesNothing) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  Arrays other(machine);
  const uint64_t pages = other.pages().pages(), blocks = other.kho().stats().preserved_blocks;
  for (unsigned hit = 1; hit <= 4; ++hit) {
    FailingStep step("iommu.state.page", ENOMEM, hit);
    EXPECT_EQ(error_of(PreservedState::create(other.pages())), ENOMEM);
    EXPECT_EQ(step.hits(), hit);
  }
  for (unsigned hit = 1; hit <= 4; ++hit) {
    FailingStep step("kho.preserve.page", EBUSY, hit);
    EXPECT_EQ(error_of(PreservedState::create(other.pages())), EBUSY);
  }
  EXPECT_EQ(other.pages().pages(), pages);
  EXPECT_EQ(other.kho().stats().preserved_blocks, blocks);
  auto fine = must(PreservedState::create(other.pages()));
  EXPECT_EQ(other.pages().pages(), pages + 4);
  fine->unpreserve();
  EXPECT_EQ(other.pages().pages(), pages);
  EXPECT_EQ(other.kho().stats().preserved_blocks, blocks);
}

TEST_F(PreservedStateTest, SlotsCountFromPublishToRemoveAndAreNotUsedAgain) {
  Arrays arrays(machine, {.devices = 3});
  PreservedState& state = *arrays.state;
  auto* pending = must(state.add<abi::DeviceSer>());
  pending->devid = 0x999;
  EXPECT_THAT(devids(state), ElementsAre(0x100, 0x101, 0x102));
  EXPECT_EQ(state.at<abi::DeviceSer>(state.phys_of(pending)), nullptr);
  state.publish(pending);
  EXPECT_EQ(state.at<abi::DeviceSer>(state.phys_of(pending)), pending);
  state.remove(arrays.devices[1]);
  EXPECT_THAT(devids(state), ElementsAre(0x100, 0x102, 0x999));
  auto* next = must(state.add<abi::DeviceSer>());
  EXPECT_EQ(next, pending + 1);
  EXPECT_EQ(next->hdr.ref_count, 1u);
  EXPECT_EQ(next->devid, 0u);
}

TEST_F(PreservedStateTest, ComesBackWithoutWhatDoesNotCount) {
  Arrays arrays(machine);
  arrays.state->remove(arrays.devices[2]);
  must(arrays.state->add<abi::DeviceSer>())->devid = 0x999;  // the kernel ended before it was whole
  auto state = must(arrays.retrieve());
  EXPECT_TRUE(state->incoming());
  EXPECT_THAT(devids(*state), ElementsAre(0x100, 0x101, 0x103, 0x104));
  state->for_each<abi::DeviceSer>([&](abi::DeviceSer& device) {
    EXPECT_EQ(state->at<abi::DomainSer>(device.map.domain_phys)->vasz, 48u);
    EXPECT_EQ(state->at<abi::IommuHwSer>(device.map.iommu_phys)->type, abi::UnitType::kIntel);
    EXPECT_EQ(device.hdr.flags, abi::kIncoming);
  });
  EXPECT_EQ(arrays.pages().pages(), 4u);
  state->release();
  EXPECT_EQ(arrays.pages().pages(), 0u);
  EXPECT_EQ(arrays.kho().unrestored().size(), 0u);
}

// 300 devices need more than five pages, and the next kernel finds each of them.
TEST_F(PreservedStateTest, Scenario73ThreeHundredDevicesAreChained) {
  Arrays arrays(machine, {.units = 40, .domains = 103, .devices = 300});
  EXPECT_EQ(arrays.pages().pages(), 1u + 2 + 2 + 6);
  auto state = must(arrays.retrieve());
  EXPECT_EQ(arrays.pages().pages(), 1u + 2 + 2 + 6);
  std::set<uint32_t> found;
  for (uint32_t id : devids(*state)) found.insert(id);
  EXPECT_EQ(found.size(), 300u);
  EXPECT_EQ(*found.rbegin(), 0x100u + 299);
  EXPECT_EQ(arrays.kho().unrestored().size(), 0u);
}

// What an earlier kernel wrote for itself, before it died without a handover of its own, is not believed.
TEST_F(PreservedStateTest, WhatIsTheNewKernelsAloneIsReset) {
  Arrays arrays(machine);
  auto first = must(arrays.retrieve());
  first->for_each<abi::IommuHwSer>([](abi::IommuHwSer& unit) { unit.intel.restored = 1; });
  first->for_each<abi::DomainSer>([](abi::DomainSer& domain) { domain.restored_domain = 0xdead; });
  first->for_each<abi::DeviceSer>([](abi::DeviceSer& device) { device.intel.restored = 1; });
  // It dies before its commit: the memory is as it left it, and the handover the one from before.
  arrays.crash();
  auto second = must(arrays.retrieve());
  second->for_each<abi::IommuHwSer>([](abi::IommuHwSer& unit) { EXPECT_EQ(unit.intel.restored, 0); });
  second->for_each<abi::DomainSer>([](abi::DomainSer& domain) { EXPECT_EQ(domain.restored_domain, 0u); });
  second->for_each<abi::DeviceSer>([](abi::DeviceSer& device) { EXPECT_EQ(device.intel.restored, 0); });
}

struct Damage {
  const char* name;
  int code;
  std::function<void(Arrays&, abi::IommuFlbSer&)> apply;
};

abi::IommuArrayHdrSer& first_page(kho::TestMachine& machine, uint64_t phys) {
  return *machine.at<abi::IommuArrayHdrSer>(PhysAddr(phys));
}

class DamagedState : public PreservedStateTest, public ::testing::WithParamInterface<Damage> {};

// Scenario 81 and every way to be wrong: refused with a reason, nothing restored, nothing followed.
TEST_P(DamagedState, IsRefused) {
  Arrays arrays(machine, {.domains = 103, .devices = 60});
  auto& ser = *machine.at<abi::IommuFlbSer>(arrays.where());
  GetParam().apply(arrays, ser);
  arrays.kexec();
  log::Capture capture;
  EXPECT_EQ(error_of(arrays.retrieve()), GetParam().code);
  EXPECT_TRUE(capture.contains("preserved state at 0x"));
  EXPECT_EQ(arrays.pages().pages(), 0u);
  EXPECT_EQ(arrays.kho().stats().failed_restores, 0u);
}

const Damage kDamages[] = {
    {"AnotherVersion", EPROTONOSUPPORT, [](Arrays&, auto& ser) { ser.version = 2; }},
    {"NoUnits", EBADMSG, [](Arrays&, auto& ser) { ser.iommu_array_phys = 0; }},
    {"NoDomains", EBADMSG, [](Arrays&, auto& ser) { ser.iommu_domain_array_phys = 0; }},
    {"NoDevices", EBADMSG, [](Arrays&, auto& ser) { ser.device_array_phys = 0; }},
    {"ArrayInsideAPage", EBADMSG, [](Arrays&, auto& ser) { ser.device_array_phys += 8; }},
    {"ArrayNotPreserved", ENOENT, [](Arrays&, auto& ser) { ser.device_array_phys = MiB(31); }},
    {"ArrayBeyondMemory", ENOENT, [](Arrays&, auto& ser) { ser.device_array_phys = ~uint64_t{0} & kPageMask; }},
    {"ArrayIsTheDescriptor", EBADMSG, [](Arrays& a, auto& ser) { ser.device_array_phys = a.where().value(); }},
    {"TwoArraysAreOne", EBADMSG, [](Arrays&, auto& ser) { ser.device_array_phys = ser.iommu_array_phys; }},
    {"LargerBlock", EBADMSG,
     [](Arrays& a, auto& ser) { ser.device_array_phys = a.pages().phys(must(a.kho().alloc_preserve(KiB(8)))).value(); }},
    {"TooManyRecords", EBADMSG,
     [](Arrays& a, auto& ser) {
       first_page(a.machine(), first_page(a.machine(), ser.device_array_phys).next_array_phys).nr_objects = 57;
     }},
    {"TooFewBeforeASuccessor", EBADMSG,
     [](Arrays& a, auto& ser) { first_page(a.machine(), ser.device_array_phys).nr_objects = 55; }},
    {"Cycle", EBADMSG,
     [](Arrays& a, auto& ser) { first_page(a.machine(), ser.device_array_phys).next_array_phys = ser.device_array_phys; }},
    {"ChainEndsElsewhere", EBADMSG,
     [](Arrays& a, auto& ser) {
       first_page(a.machine(), ser.device_array_phys).next_array_phys = ser.iommu_array_phys;
     }},
    {"UnknownFlags", EBADMSG, [](Arrays& a, auto&) { a.devices[3]->hdr.flags = 4; }},
    {"UnknownFlagsOfADeletedOne", EBADMSG, [](Arrays& a, auto&) { a.devices[3]->hdr.flags = 5; }},
    {"NoUser", EBADMSG, [](Arrays& a, auto&) { a.domains[3]->hdr.ref_count = 0; }},
    {"UnitOfNoType", EBADMSG, [](Arrays& a, auto&) { a.units[0]->type = abi::UnitType::kInvalid; }},
    {"UnitOfUnknownType", EBADMSG, [](Arrays& a, auto&) { a.units[0]->type = static_cast<abi::UnitType>(3); }},
    {"UnitTwice", EBADMSG, [](Arrays& a, auto&) { a.units[1]->token = a.units[0]->token; }},
    {"RootNotAligned", EBADMSG, [](Arrays& a, auto&) { a.units[0]->intel.root_table |= 8; }},
    {"NoTopTable", EBADMSG, [](Arrays& a, auto&) { a.domains[102]->top_table_phys = 0; }},
    {"TopTableNotAligned", EBADMSG, [](Arrays& a, auto&) { a.domains[1]->top_table_phys |= 1; }},
    {"TopTableTwice", EBADMSG,
     [](Arrays& a, auto&) { a.domains[1]->top_table_phys = uint64_t{a.domains[0]->top_table_phys}; }},
    {"TopTableIsAnArray", EBADMSG, [](Arrays& a, auto& ser) { a.domains[1]->top_table_phys = uint64_t{ser.device_array_phys}; }},
    {"Level", EBADMSG, [](Arrays& a, auto&) { a.domains[1]->top_level = 6; }},
    {"AddressTooNarrow", EBADMSG, [](Arrays& a, auto&) { a.domains[1]->vasz = 11; }},
    {"AddressTooWide", EBADMSG, [](Arrays& a, auto&) { a.domains[1]->vasz = 65; }},
    {"SignExtend", EBADMSG, [](Arrays& a, auto&) { a.domains[1]->sign_extend = 2; }},
    {"DeviceTwice", EBADMSG, [](Arrays& a, auto&) { a.devices[59]->devid = 0x100; }},
    {"DeviceId", EBADMSG, [](Arrays& a, auto&) { a.devices[59]->devid = 0x10000; }},
    {"Segment", EBADMSG, [](Arrays& a, auto&) { a.devices[59]->pci_domain_nr = 0x10000; }},
    {"NoDomain", EBADMSG, [](Arrays& a, auto&) { a.devices[0]->map.domain_phys = 0; }},
    {"InsideADomain", EBADMSG, [](Arrays& a, auto&) { a.devices[0]->map.domain_phys += 8; }},
    {"DomainBehindTheLast", EBADMSG, [](Arrays& a, auto&) { a.devices[0]->map.domain_phys = a.state->phys_of(a.domains[102] + 1); }},
    {"DeletedDomain", EBADMSG, [](Arrays& a, auto&) { a.state->remove(a.domains[0]); }},
    {"DomainIsAUnit", EBADMSG, [](Arrays& a, auto&) { a.devices[0]->map.domain_phys = a.state->phys_of(a.units[0]); }},
    {"NoUnit", EBADMSG, [](Arrays& a, auto&) { a.devices[0]->map.iommu_phys = 0; }},
    {"DeletedUnit", EBADMSG, [](Arrays& a, auto&) { a.state->remove(a.units[0]); }},
    {"PasidTable", EBADMSG, [](Arrays& a, auto&) { a.devices[0]->intel.pasid_table |= 0x200; }},
};
INSTANTIATE_TEST_SUITE_P(All, DamagedState, ::testing::ValuesIn(kDamages),
                         [](const auto& damage) { return damage.param.name; });

// Damage of what does not count does not matter.
TEST_F(PreservedStateTest, DeletedRecordsMayHoldAnything) {
  Arrays arrays(machine);
  arrays.state->remove(arrays.devices[0]);
  *reinterpret_cast<abi::DeviceMapSer*>(&arrays.devices[0]->map) = {~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}};
  EXPECT_EQ(error_of(arrays.retrieve()), 0);
}

TEST_F(PreservedStateTest, IsRetrievedOnce) {
  Arrays arrays(machine);
  EXPECT_EQ(error_of(arrays.retrieve()), 0);
  EXPECT_EQ(error_of(arrays.retrieve()), ENOENT);
  IommuPages no_handover(arrays.pages().allocator(), nullptr);
  EXPECT_EQ(error_of(PreservedState::retrieve(no_handover, arrays.where())), EOPNOTSUPP);
}

}  // namespace
}  // namespace causeway::iommu::testing
