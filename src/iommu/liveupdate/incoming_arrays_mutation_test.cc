// Real arrays, damaged a hundred thousand times by a byte or a word: the reader never follows damage, and what it accepts
// means what it says.
#include "iommu/liveupdate/incoming_arrays.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

#include "base/log.h"
#include "iommu/liveupdate/testing/arrays.h"

namespace causeway::iommu::testing {
namespace {

// Reads by itself, and believes only what the arrays list.
class Judge {
 public:
  Judge(Arrays& from, const IncomingArrays& read) : from_(from), read_(read) {}

  ::testing::AssertionResult is_sound() {
    std::set<uint64_t> pages{from_.where().value()};
    for (size_t kind = 0; kind < kRecordKinds; ++kind)
      for (PhysAddr page : read_.chains[kind])
        if (!pages.insert(page.value()).second || from_.kho().preserved_order(page) != kOrder0)
          return ::testing::AssertionFailure() << "a page twice, or not preserved";
    std::set<uint64_t> tables, ids, units;
    uint64_t unit_count = 0, domain_count = 0, device_count = 0;
    const char* wrong = nullptr;
    visit<abi::IommuHwSer>([&](const abi::IommuHwSer& unit) {
      ++unit_count, units.insert(unit.token * 3 + static_cast<uint64_t>(unit.type));
    });
    visit<abi::DomainSer>([&](const abi::DomainSer& domain) {
      ++domain_count, tables.insert(domain.top_table_phys);
      if (domain.top_level > 5 || domain.vasz > 64 || domain.top_table_phys % kPageSize != 0) wrong = "geometry";
    });
    visit<abi::DeviceSer>([&](const abi::DeviceSer& device) {
      ++device_count, ids.insert(uint64_t{device.pci_domain_nr} << 32 | device.devid);
      if (!is_one<abi::DomainSer>(device.map.domain_phys) || !is_one<abi::IommuHwSer>(device.map.iommu_phys))
        wrong = "a device that names nothing";
    });
    if (units.size() != unit_count || tables.size() != domain_count || ids.size() != device_count) wrong = "duplicates";
    return wrong == nullptr ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << wrong;
  }

 private:
  template <typename Object, typename Visit>
  void visit(const Visit& call) {
    for (PhysAddr page : read_.chains[static_cast<size_t>(kKindOf<Object>)]) {
      auto* header = reinterpret_cast<abi::IommuArrayHdrSer*>(from_.pages().virt(page));
      ASSERT_LE(header->nr_objects, abi::kPerPage<Object>);
      for (uint64_t i = 0; i < header->nr_objects; ++i) {
        const Object& object = reinterpret_cast<Object*>(header + 1)[i];
        if ((object.hdr.flags & abi::kDeleted) == 0) call(object);
      }
    }
  }
  template <typename Object>
  bool is_one(uint64_t phys) {
    bool found = false;
    visit<Object>([&](const Object& object) { found |= from_.pages().phys(&object).value() == phys; });
    return found;
  }

  Arrays& from_;
  const IncomingArrays& read_;
};

TEST(IncomingArraysMutation, IsRefusedOrSound) {
  kho::TestMachine machine;
  Arrays arrays(machine, {.units = 3, .domains = 5, .devices = 58});
  arrays.state->remove(arrays.devices[7]);
  arrays.kexec();
  const IncomingArrays intact = must(read_arrays(arrays.pages(), arrays.where()));
  ASSERT_TRUE(Judge(arrays, intact).is_sound());
  std::vector<std::byte*> places;  // words that mean something
  auto add = [&](PhysAddr page, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += 8)
      places.push_back(reinterpret_cast<std::byte*>(arrays.pages().virt(page)) + at);
  };
  add(arrays.where(), sizeof(abi::IommuFlbSer));
  for (size_t kind = 0; kind < kRecordKinds; ++kind)
    for (PhysAddr page : intact.chains[kind])
      add(page, std::min<uint64_t>(kPageSize, sizeof(abi::IommuArrayHdrSer) + 20 * size_of(static_cast<RecordKind>(kind))));

  log::set_sink([](const log::Record&) {});
  std::mt19937_64 random(73);
  uint64_t refused = 0, accepted = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::byte* place = places[random() % places.size()];
    uint64_t before, value;
    std::memcpy(&before, place, sizeof(before));
    switch (random() % 6) {
      case 0: value = random(); break;
      case 1: value = before ^ uint64_t{1} << random() % 64; break;
      case 2: value = before ^ (random() & 0xff) << 8 * (random() % 8); break;
      case 3: std::memcpy(&value, places[random() % places.size()], sizeof(value)); break;
      case 4: value = (intact.chains[random() % kRecordKinds][0] + 8 * (random() % 512)).value(); break;
      default: value = random() % 3 - 1; break;
    }
    std::memcpy(place, &value, sizeof(value));
    auto read = read_arrays(arrays.pages(), arrays.where());
    if (read.has_value()) {
      ++accepted;
      ASSERT_TRUE(Judge(arrays, *read).is_sound()) << "round " << round;
    } else {
      ++refused;
      const int code = error_of(read);
      ASSERT_TRUE(code == ENOENT || code == EBADMSG || code == EPROTONOSUPPORT) << code;
    }
    std::memcpy(place, &before, sizeof(before));
  }
  log::set_sink({});
  EXPECT_GT(refused, 10'000u);
  EXPECT_GT(accepted, 10'000u);
  EXPECT_EQ(error_of(read_arrays(arrays.pages(), arrays.where())), 0);
}

}  // namespace
}  // namespace causeway::iommu::testing
