// What a machine with several units, or with one that is not coherent, does.
#include "hw/dmar.h"
#include "machine/testing/vtd_fixture.h"

namespace causeway::machine::testing {
namespace {

using regs::TransferStatus;

MachineConfig two_units() {
  MachineConfig config;
  config.ram = MiB(128);
  config.iommus = {IommuSpec{}, IommuSpec{.scope = {kEngine}}};
  config.devices = {DeviceSpec{}, DeviceSpec{.bdf = Bdf(0, 2, 0)}};
  return config;
}

class TwoUnits : public VtdTest {
 protected:
  TwoUnits() : VtdTest(two_units(), Mode::kLegacy) {}
};

TEST_F(TwoUnits, TheTableNamesThemAndTheirDevices) {
  const std::byte* table = kernel.firmware_table();
  hw::DmarHeader header;
  std::memcpy(&header, table, sizeof header);
  EXPECT_EQ(std::memcmp(header.signature, "DMAR", 4), 0);
  uint8_t sum = 0;
  for (uint32_t i = 0; i < header.length; ++i) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(table[i]));
  EXPECT_EQ(sum, 0);
  hw::DmarUnit first, second;
  hw::DmarScope scope;
  std::memcpy(&first, table + sizeof header, sizeof first);
  std::memcpy(&scope, table + sizeof header + sizeof first, sizeof scope);
  std::memcpy(&second, table + sizeof header + first.header.length, sizeof second);
  EXPECT_EQ(first.register_base, hw::kIommuBase.value() + kPageSize);
  EXPECT_EQ(first.flags, 0);
  EXPECT_EQ(scope.device, 1);
  EXPECT_EQ(second.register_base, hw::kIommuBase.value());
  EXPECT_EQ(second.flags, hw::kIncludeAll);
  EXPECT_EQ(header.length, sizeof header + first.header.length + second.header.length);
}

// Scenario 75, the machine's side: a unit is on or off for the devices behind it alone.
TEST_F(TwoUnits, OneIsOnAndTheOtherOff) {
  RawIommu rest(kernel, Mode::kLegacy, 0, PhysAddr{0x300'0000});
  rest.start();
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  EXPECT_EQ(driver.run(regs::kWorkQueue, fill(5, kTarget, 64)).status, TransferStatus::kOk) << "its unit is off";
  rest.set_translation(false);
  EXPECT_EQ(number("iommu0.te_off_transitions"), 1u);
  EXPECT_EQ(number("iommu1.te_off_transitions"), 0u);
}

TEST(Remapping, AMachineWithoutUnitsHasNoTable) {
  auto machine = *Machine::create({.ram = MiB(16)});
  RawKernel kernel(machine->connect());
  for (uint64_t i = 0; i < kPageSize; ++i) ASSERT_EQ(kernel.firmware_table()[i], std::byte{0});
}

TEST(Remapping, RefusesUnitsThatContradictEachOther) {
  EXPECT_FALSE(Machine::create({.iommus = {IommuSpec{}, IommuSpec{}}}).has_value());
  EXPECT_FALSE(Machine::create({.iommus = {{.scope = {kEngine}}, {.scope = {kEngine}}}}).has_value());
  IdentityTranslation identity;
  EXPECT_FALSE(Machine::create({.iommus = {IommuSpec{}}, .translation = &identity}).has_value());
}

TEST(Remapping, UnitsAsText) {
  auto spec = parse_iommu_spec("vtd,scalable=1,aw=57,domains=16,caching_mode=1,coherent=0,prs=1,scope=00:01.0+00:02.0");
  ASSERT_TRUE(spec.has_value());
  EXPECT_TRUE(spec->scalable && spec->caching_mode && !spec->coherent);
  EXPECT_EQ(spec->address_width, 57u);
  EXPECT_TRUE(spec->page_requests);
  EXPECT_EQ(spec->domains, 16u);
  EXPECT_EQ(spec->scope.size(), 2u);
  spec = parse_iommu_spec("vtd,reserved=0x80000-0x81fff@00:01.0+00:02.0,reserved=0x90000-0x90fff@00:03.0");
  ASSERT_TRUE(spec.has_value());
  ASSERT_EQ(spec->reserved.size(), 2u);
  EXPECT_EQ(spec->reserved[0].last, 0x81fffu);
  EXPECT_EQ(spec->reserved[0].devices.size(), 2u);
  for (const char* bad : {"", "amd", "vtd,", "vtd,aw=40", "vtd,domains=17", "vtd,domains=32", "vtd,scalable=2",
                          "vtd,x=1", "vtd,scope=00:01.0+00:01.0", "vtd,faults=0", "vtd,reserved=0x1000@00:01.0",
                          "vtd,reserved=0x1000-0x1ffe@00:01.0", "vtd,reserved=0x2000-0x1fff@00:01.0",
                          "vtd,reserved=0x1000-0x1fff", "vtd,reserved=4096-8191@00:01.0"})
    EXPECT_FALSE(parse_iommu_spec(bad).has_value()) << bad;
}

// The lines are older than the machine, which takes its leave of them.
struct Lines {
  LineFlushes lines;
};
class NonCoherent : private Lines, public VtdTest {
 protected:
  NonCoherent() : VtdTest(IommuSpec{.coherent = false}, &lines) {}
  using Lines::lines;
};

// Scenario 29.
TEST_F(NonCoherent, SeesNothingThatWasNotFlushed) {
  top = iommu.page();
  map_engine(top);
  iommu.set_context(kEngine, top, kDomainId);
  // All of the tables but the root.
  lines.flushed(iommu.root() + kPageSize, MiB(1));
  iommu.start();
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  driver.post(regs::kWorkQueue, copy(kIovaSource, kIovaTarget, 64));
  ASSERT_TRUE(eventually([&] { return number("iommu0.faults") == 1; }));
  EXPECT_EQ(vt::RecordReason::get(iommu.record(0)), vt::kRootNotPresent);
  lines.flushed(iommu.root(), 16);
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  // A leaf that memory has and the unit has not.
  iommu.map(top, kIovaTarget + kPageSize, kOther);
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kRefusedDestination);
  lines.flushed(iommu.slot(top, kIovaTarget + kPageSize), 8);
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kOk);
}

}  // namespace
}  // namespace causeway::machine::testing
