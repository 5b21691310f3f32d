#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>

#include "inspect/render.h"
#include "inspect/testing/decoding.h"
#include "inspect/testing/iommu_example.h"
#include "luo/abi/luo_v5.h"

namespace causeway::inspect {
namespace {

namespace abi = iommu::abi;
using Mode = IommuExample::Mode;
using iommu::abi::DeviceSer;
using iommu::abi::DomainSer;

constexpr Bdf kFirstDevice(0, 1, 0);
constexpr Bdf kSecondDevice(0, 2, 0);

TEST(IommuDecoder, AWholeHandoverIsDecodedInBothModes) {
  for (Mode mode : {Mode::kLegacy, Mode::kScalable}) {
    Decoded decoded(IommuExample(mode).core());
    EXPECT_EQ(decoded.report.findings.problems(), 0u) << render_text(decoded.report, {});
    ASSERT_EQ(decoded.report.iommu.size(), 1u);
    const IommuState& state = decoded.report.iommu[0];
    ASSERT_EQ(state.units.size(), 1u);
    EXPECT_EQ(state.units[0].registers, IommuExample::kUnitRegisters);
    EXPECT_EQ(state.units[0].scalable, mode == Mode::kScalable);
    EXPECT_EQ(state.units[0].context_tables, std::vector<uint16_t>{0});
    ASSERT_EQ(state.domains.size(), 2u);
    EXPECT_EQ(state.deleted_domains, 1u);
    EXPECT_EQ(state.domains[0].stage, mode == Mode::kScalable ? Stage::kFirst : Stage::kSecond);
    EXPECT_EQ(state.domains[1].stage, Stage::kSecond);
    EXPECT_EQ(state.domains[0].leaves, (std::array<uint64_t, kLeafLevels>{2, 1, 0}));
    EXPECT_EQ(state.domains[0].mapped_bytes, MiB(2) + KiB(8));
    EXPECT_EQ(state.domains[0].table_pages(), 4u);
    EXPECT_EQ(state.domains[0].links, (std::array<uint64_t, kTableLevels>{0, 1, 1, 1, 0}));
    ASSERT_EQ(state.devices.size(), 3u);
    EXPECT_EQ(state.devices[1].bdf, kSecondDevice);
    EXPECT_EQ(state.devices[1].owner_token, 0x654321u);
    EXPECT_EQ(state.devices[1].domain_id, 3u);
    EXPECT_EQ(state.devices[2].domain, 0u);
  }
}

TEST(IommuDecoder, TheWayOfADeviceIsFollowedToItsMemory) {
  for (Mode mode : {Mode::kLegacy, Mode::kScalable}) {
    Decoded decoded(IommuExample(mode).core(), {}, kFirstDevice);
    ASSERT_TRUE(decoded.report.translation.has_value());
    const Translation& way = *decoded.report.translation;
    ASSERT_TRUE(way.root.has_value() && way.context.has_value());
    EXPECT_EQ(way.pasid.has_value(), mode == Mode::kScalable);
    ASSERT_EQ(way.ranges.size(), 2u) << "two pages in a row are one range";
    EXPECT_EQ(way.ranges[0].iova, 0x1000u);
    EXPECT_EQ(way.ranges[0].phys, IommuExample::kMemory);
    EXPECT_EQ(way.ranges[0].bytes, KiB(8));
    EXPECT_TRUE(way.ranges[0].read && way.ranges[0].write);
    EXPECT_EQ(way.ranges[1].bytes, MiB(2));
    EXPECT_EQ(way.ranges[1].memory, MappedRange::Memory::kPreserved);
    EXPECT_EQ(decoded.report.findings.problems(), 0u) << decoded.rules();

    Decoded second(IommuExample(mode).core(), {}, kSecondDevice);
    ASSERT_EQ(second.report.translation->ranges.size(), 1u);
    EXPECT_FALSE(second.report.translation->ranges[0].write);
  }
}

TEST(IommuDecoder, AddressesOfTheUpperHalfAreSignExtended) {
  IommuExample image(Mode::kScalable);
  image.map(0, 0xffff'8000'0000'0000, IommuExample::kMemory, 0);
  Decoded decoded(image.core(), {}, kFirstDevice);
  EXPECT_EQ(decoded.report.translation->ranges.back().iova, 0xffff'8000'0000'0000u);
  EXPECT_EQ(decoded.report.findings.problems(), 0u) << decoded.rules();
}

TEST(IommuDecoder, MemoryThatIsNotPreservedIsAWarningOfTheDevice) {
  IommuExample image(Mode::kScalable);
  image.unpreserve(IommuExample::kMemory + kPageSize, 0);
  Decoded decoded(image.core(), {}, kFirstDevice);
  ASSERT_EQ(decoded.report.translation->ranges.size(), 3u);
  EXPECT_EQ(decoded.report.translation->ranges[1].memory, MappedRange::Memory::kNotPreserved);
  EXPECT_EQ(decoded.report.translation->unpreserved_bytes, kPageSize);
  ASSERT_TRUE(decoded.found("iommu.memory-not-preserved"));
  EXPECT_EQ(decoded.find("iommu.memory-not-preserved")->severity, Severity::kWarning);
  EXPECT_NE(render_text(decoded.report, {}).find("not preserved"), std::string::npos);
  EXPECT_EQ(Decoded(image.core()).report.findings.problems(), 0u) << "nobody asked for the memory";
}

TEST(IommuDecoder, ADeviceThatIsNotThereHasNoTranslation) {
  EXPECT_FALSE(Decoded(IommuExample(Mode::kLegacy).core(), {}, Bdf(0, 9, 0)).report.translation.has_value());
}

// The same records by way of LUO: the FLB's data.
TEST(IommuDecoder, AnFlbOfTheNameCarriesItToo) {
  constexpr uint64_t kLuo = 0x107000, kFlbs = 0x108000;
  IommuExample image(Mode::kScalable, nullptr);
  for (uint64_t page : {kLuo, kFlbs}) image.preserve(page, 0);
  luo::abi::Ser ser{.liveupdate_num = 1, .sessions_pa = 0, .flbs_pa = kFlbs};
  std::memcpy(ser.compatible, luo::abi::kCompatible, sizeof ser.compatible);
  image.put(kLuo, ser);
  image.put(kFlbs, luo::abi::FlbHeaderSer{1, 1});
  luo::abi::FlbSer flb{.data = IommuExample::kRecord, .count = 1};
  std::strcpy(flb.name, abi::kCompatible);
  image.put(kFlbs + sizeof(luo::abi::FlbHeaderSer), flb);
  image.subtree(luo::abi::kSubtree, kLuo, sizeof ser);
  Decoded decoded(image.core());
  EXPECT_EQ(decoded.report.findings.problems(), 0u) << render_text(decoded.report, {});
  ASSERT_EQ(decoded.report.iommu.size(), 1u);
  EXPECT_EQ(decoded.report.iommu[0].carrier, "LUO FLB");
  EXPECT_EQ(decoded.report.iommu[0].devices.size(), 3u);
}

template <typename Record>
void change(IommuExample& image, uint64_t at, const std::function<void(Record&)>& how) {
  auto record = image.get<Record>(at);
  how(record);
  image.put(at, record);
}

struct Damage {
  const char* name;
  Mode mode;
  std::function<void(IommuExample&)> commit;
  const char* rule;
  const char* says;
  friend void PrintTo(const Damage& self, std::ostream* out) { *out << self.name; }
};
class IommuDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(IommuDamage, IsNamed) {
  IommuExample image(GetParam().mode);
  GetParam().commit(image);
  Decoded decoded(image.core(), PhysAddr(ImageBuilder::kFdt), kFirstDevice);
  EXPECT_NE(decoded.text(GetParam().rule).find(GetParam().says), std::string::npos)
      << decoded.rules() << "\n" << decoded.text(GetParam().rule);
  EXPECT_FALSE(render_text(decoded.report, {}).empty());
  EXPECT_FALSE(to_json(decoded.report).dump().empty());
}

const Damage kDamages[] = {
    {"Version", Mode::kLegacy, [](IommuExample& i) { i.put(IommuExample::kRecord, uint64_t{2}); }, "iommu.version",
     "version 2, want 1"},
    {"BlobSize", Mode::kLegacy, [](IommuExample& i) { i.subtree("x", 0, 0); change<abi::IommuFlbSer>(i, IommuExample::kRecord, [](auto& r) { r.device_array_phys = 0; }); },
     "image.null", "a page of IOMMU devices"},
    {"ArrayCycle", Mode::kLegacy,
     [](IommuExample& i) { i.put(IommuExample::kDevices, abi::IommuArrayHdrSer{IommuExample::kDevices, 3}); },
     "image.page-shared", "IOMMU devices"},
    {"ArrayCount", Mode::kLegacy, [](IommuExample& i) { i.put(IommuExample::kDevices, abi::IommuArrayHdrSer{0, 57}); },
     "iommu.count", "57 objects, want at most 56"},
    {"ArrayNotPreserved", Mode::kLegacy, [](IommuExample& i) { i.unpreserve(IommuExample::kUnits, 0); },
     "image.not-preserved", "a page of IOMMU units"},
    {"UnitType", Mode::kLegacy,
     [](IommuExample& i) { i.put(IommuExample::kUnits + 16 + offsetof(abi::IommuHwSer, type), uint64_t{7}); },
     "iommu.unit-type", "type 7"},
    {"UnitToken", Mode::kLegacy,
     [](IommuExample& i) { i.put(IommuExample::kUnits + 16 + offsetof(abi::IommuHwSer, token), uint64_t{0xabc}); },
     "iommu.unit-token", "0xabc"},
    {"UnitTwice", Mode::kLegacy,
     [](IommuExample& i) {
       i.put(IommuExample::kUnits, abi::IommuArrayHdrSer{0, 2});
       i.put(IommuExample::kUnits + 16 + sizeof(abi::IommuHwSer), i.get<abi::IommuHwSer>(IommuExample::kUnits + 16));
     },
     "iommu.unit-twice", "0xfed90000"},
    {"RootNotPreserved", Mode::kLegacy, [](IommuExample& i) { i.unpreserve(IommuExample::kRoot, 0); }, "image.not-preserved",
     "root table"},
    {"RootEntryAbsent", Mode::kLegacy, [](IommuExample& i) { i.put(IommuExample::kRoot, uint64_t{0}); }, "iommu.root-entry",
     "bus 0x00"},
    {"RootReserved", Mode::kLegacy, [](IommuExample& i) { i.put(IommuExample::kRoot, uint64_t{IommuExample::kContext | 0x21}); },
     "iommu.reserved-bits", "root entry"},
    {"ContextNotPreserved", Mode::kLegacy, [](IommuExample& i) { i.unpreserve(IommuExample::kContext, 0); },
     "image.not-preserved", "context table"},
    {"ContextMissing", Mode::kScalable,
     [](IommuExample& i) { i.put(IommuExample::kUnits + 16 + offsetof(abi::IommuHwSer, intel) + offsetof(abi::IommuIntelSer, context_tables_bitmap), uint64_t{0}); },
     "iommu.context-missing", "device 00:01.0"},
    {"ContextAbsent", Mode::kLegacy, [](IommuExample& i) { i.put(i.context_entry(kFirstDevice), uint64_t{0}); },
     "iommu.context-entry", "not present"},
    {"ContextReserved", Mode::kLegacy,
     [](IommuExample& i) { i.put(i.context_entry(kFirstDevice), uint64_t{i.top(0) | 0x11}); }, "iommu.reserved-bits",
     "context entry"},
    {"PassThrough", Mode::kLegacy, [](IommuExample& i) { i.put(i.context_entry(kFirstDevice), uint64_t{9}); },
     "iommu.pass-through", "untranslated"},
    {"OtherDomainId", Mode::kLegacy, [](IommuExample& i) { i.put(i.context_entry(kFirstDevice) + 8, uint64_t{0x902}); },
     "iommu.domain-id-differs", "domain id 9, its record 2"},
    {"OtherDomainIdScalable", Mode::kScalable, [](IommuExample& i) { i.put(i.pasid_entry(0) + 8, uint64_t{9}); },
     "iommu.domain-id-differs", "PASID entry has domain id 9"},
    {"OtherTable", Mode::kLegacy, [](IommuExample& i) { i.put(i.context_entry(kFirstDevice), uint64_t{i.top(1) | 1}); },
     "iommu.table-pointer", "its domain at"},
    {"OtherTableScalable", Mode::kScalable, [](IommuExample& i) { i.put(i.pasid_entry(0) + 16, i.top(1)); },
     "iommu.table-pointer", "PASID entry"},
    {"OtherLevel", Mode::kLegacy, [](IommuExample& i) { i.put(i.context_entry(kFirstDevice) + 8, uint64_t{0x201}); },
     "iommu.table-level", "level 2"},
    {"OtherStage", Mode::kScalable,
     [](IommuExample& i) { i.put(i.pasid_entry(2), uint64_t{i.top(0) | 1 | 2 << 6 | 2 << 2}); }, "iommu.stage",
     "device 00:03.1"},
    {"OtherDirectory", Mode::kScalable,
     [](IommuExample& i) {
       change<DeviceSer>(i, i.device_record(0), [](auto& r) { r.intel.pasid_table = 0x999000; });
     },
     "iommu.pasid-pointer", "its record at 0x999000"},
    {"MaxPasid", Mode::kScalable,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(0), [](auto& r) { r.intel.max_pasid = 1 << 20; }); },
     "iommu.max-pasid", "32768"},
    {"RidPasid", Mode::kScalable, [](IommuExample& i) { i.put(i.context_entry(kFirstDevice) + 8, uint64_t{0x9000}); },
     "iommu.rid-pasid", "0x9000"},
    {"DirectoryAbsent", Mode::kScalable, [](IommuExample& i) { i.put(i.directory(0), uint64_t{0}); }, "iommu.pasid-entry",
     "directory entry"},
    {"DirectoryReserved", Mode::kScalable, [](IommuExample& i) { i.put(i.directory(0), uint64_t{i.pasid_entry(0) | 5}); },
     "iommu.reserved-bits", "PASID directory"},
    {"DirectoryNotPreserved", Mode::kScalable, [](IommuExample& i) { i.unpreserve(i.directory(0), 0); },
     "image.not-preserved", "PASID directory"},
    {"PasidAbsent", Mode::kScalable, [](IommuExample& i) { i.put(i.pasid_entry(0), uint64_t{0}); }, "iommu.pasid-entry",
     "the entry of PASID 0"},
    {"PasidType", Mode::kScalable, [](IommuExample& i) { i.put(i.pasid_entry(0), uint64_t{1 | 4 << 6}); },
     "iommu.pasid-type", "type 4"},
    {"PasidTableNotPreserved", Mode::kScalable, [](IommuExample& i) { i.unpreserve(i.pasid_entry(0), 0); },
     "image.not-preserved", "PASID table"},
    {"DomainIdReserved", Mode::kLegacy,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(0), [](auto& r) { r.map.attachment_id = 0; }); },
     "iommu.domain-id", "domain id 0"},
    {"DomainIdShared", Mode::kLegacy,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(1), [](auto& r) { r.map.attachment_id = 2; }); },
     "iommu.domain-id-shared", "domain id 2"},
    {"DeviceTwice", Mode::kLegacy,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(2), [](auto& r) { r.devid = kFirstDevice.value(); }); },
     "iommu.device-twice", "00:01.0"},
    {"DeviceId", Mode::kLegacy,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(2), [](auto& r) { r.devid = 0x10008; }); }, "iommu.device-id",
     "0x10008"},
    {"NoDomain", Mode::kLegacy,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(0), [](auto& r) { r.map.domain_phys += 8; }); },
     "iommu.reference", "not in the arrays"},
    {"DeletedDomain", Mode::kLegacy,
     [](IommuExample& i) {
       change<DeviceSer>(i, i.device_record(0), [&](auto& r) { r.map.domain_phys = i.domain_record(2); });
     },
     "iommu.reference", "that is deleted"},
    {"NoUnit", Mode::kLegacy,
     [](IommuExample& i) { change<DeviceSer>(i, i.device_record(0), [](auto& r) { r.map.iommu_phys = 0; }); },
     "iommu.reference", "unit record"},
    {"DomainLevel", Mode::kLegacy,
     [](IommuExample& i) { change<DomainSer>(i, i.domain_record(0), [](auto& r) { r.top_level = 5; }); },
     "iommu.domain-level", "level 5"},
    {"DomainWidth", Mode::kLegacy,
     [](IommuExample& i) { change<DomainSer>(i, i.domain_record(0), [](auto& r) { r.vasz = 57; }); }, "iommu.domain-width",
     "57 bits"},
    {"BeyondWidth", Mode::kLegacy,
     [](IommuExample& i) {
       change<DomainSer>(i, i.domain_record(0), [](auto& r) { r.vasz = 47; });
       i.map(0, uint64_t{1} << 47, IommuExample::kMemory, 0);
     },
     "iommu.beyond-width", "47 bits"},
    {"TopNotPreserved", Mode::kLegacy, [](IommuExample& i) { i.unpreserve(i.top(0), 0); }, "image.not-preserved",
     "top page table"},
    {"TableNotPreserved", Mode::kScalable,
     [](IommuExample& i) { i.unpreserve(i.get<uint64_t>(i.entry(0, 0x1000, 1)) & hw::vtd::kEntryAddress, 0); },
     "image.not-preserved", "a page table of a domain"},
    {"TableCycle", Mode::kLegacy, [](IommuExample& i) { i.put(i.entry(0, 0x1000, 1), uint64_t{i.top(0) | 3}); },
     "image.page-shared", "a page table of a domain"},
    {"LeafReserved", Mode::kLegacy, [](IommuExample& i) { i.put(i.entry(0, 0x1000, 0), uint64_t{IommuExample::kMemory | 0x13}); },
     "iommu.reserved-bits", "level 0"},
    {"LargeLeafMisaligned", Mode::kScalable,
     [](IommuExample& i) { i.put(i.entry(0, 0x200000, 1), uint64_t{(IommuExample::kLargeMemory + 0x2000) | 0xe7}); },
     "iommu.reserved-bits", "level 1"},
    {"LeafTooLarge", Mode::kLegacy, [](IommuExample& i) { i.put(i.top(0) + 8, uint64_t{0x83}); }, "iommu.reserved-bits",
     "level 3"},
};
INSTANTIATE_TEST_SUITE_P(All, IommuDamage, ::testing::ValuesIn(kDamages),
                         [](const auto& param) { return param.param.name; });

TEST(IommuDecoder, ATableInScratchIsFound) {
  IommuExample image(Mode::kScalable);
  image.put(0x1ff000, kho::abi::ScratchEntry{IommuExample::kTables, MiB(1)});
  const std::vector<std::byte> core = image.core();
  auto file = *ImageFile::from_bytes(core);
  Options options = options_for(file);
  options.fdt = PhysAddr(ImageBuilder::kFdt);
  options.hints.scratch_addr = PhysAddr(0x1ff000);
  options.hints.scratch_size = sizeof(kho::abi::ScratchEntry);
  const Report report = decode(file.memory(), options);
  bool found = false;
  for (const Finding& finding : report.findings.list()) found = found || std::string_view(finding.rule) == "iommu.in-scratch";
  EXPECT_TRUE(found);
}

// 300 devices are more than five pages of records.
TEST(IommuDecoder, ChainsOfPagesAreFollowedAndBounded) {
  constexpr unsigned kCount = 5000;
  constexpr uint64_t kPages = 0x1000000;
  IommuExample image(Mode::kLegacy);
  const auto device = image.get<DeviceSer>(IommuExample::device_record(0));
  unsigned made = 0;
  for (uint64_t page = kPages; made < kCount; page += kPageSize) {
    const uint64_t here = std::min<uint64_t>(kCount - made, abi::kPerPage<DeviceSer>);
    image.preserve(page, 0);
    image.put(page, abi::IommuArrayHdrSer{made + here < kCount ? page + kPageSize : 0, here});
    for (uint64_t i = 0; i < here; ++i, ++made) {
      DeviceSer one = device;
      one.devid = kFirstDevice.value() + made % 248;
      one.pci_domain_nr = made / 248;
      if (made % 2 == 1) one.hdr.flags = abi::kDeleted;
      image.put(page + 16 + i * sizeof one, one);
    }
  }
  auto record = image.get<abi::IommuFlbSer>(IommuExample::kRecord);
  record.device_array_phys = kPages;
  image.put(IommuExample::kRecord, record);
  const auto bytes = image.core();
  Decoded decoded(bytes);
  EXPECT_EQ(decoded.report.iommu[0].devices.size(), kCount / 2);
  EXPECT_EQ(decoded.report.iommu[0].deleted_devices, kCount / 2);
  EXPECT_LE(decoded.report.work, bytes.size() / kPageSize * 520 + 1024);

  Options options = options_for(*decoded.file);
  options.max_iommu_records = 100;
  const Report cut = decode(decoded.file->memory(), options);
  EXPECT_LE(cut.iommu[0].devices.size(), 100u);
  EXPECT_GT(cut.iommu[0].omitted, 0u);
}

TEST(IommuDecoder, RangesBeyondTheLimitAreCounted) {
  IommuExample image(Mode::kScalable);
  for (uint64_t i = 0; i < 100; ++i) image.map(0, 0x100000 + i * 0x2000, IommuExample::kMemory, 0);
  const std::vector<std::byte> core = image.core();
  auto file = *ImageFile::from_bytes(core);
  Options options = options_for(file);
  options.device = {0, kFirstDevice};
  options.max_ranges = 10;
  const Report report = decode(file.memory(), options);
  EXPECT_EQ(report.translation->ranges.size(), 10u);
  EXPECT_EQ(report.translation->ranges_omitted, 92u);
  EXPECT_NE(render_text(report, {.max_ranges = 4}).find("... and 98 more ranges"), std::string::npos)
      << render_text(report, {.max_ranges = 4});
}

}  // namespace
}  // namespace causeway::inspect
