// A handover that is damaged while no kernel runs: the next one says so, boots cold, takes the running device
// off the bus before it hands out memory, and starts it anew.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <ostream>

#include "base/mapping.h"
#include "hw/bus.h"
#include "hw/control.h"
#include "kho/abi/kho_v4.h"
#include "live_machine.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::ContainsRegex;
using ::testing::IsEmpty;

// Bus and RAM of a machine, written to behind everybody's back.
class Inside {
 public:
  explicit Inside(LiveMachine& machine) {
    auto client = machine.client();
    EXPECT_TRUE(client.has_value());
    if (!client) return;
    UniqueFd bus;
    EXPECT_TRUE(client->request(hw::control::Op::kAttach, 0, 0, &bus).has_value());
    bus_ = std::move(*Mapping::shared(bus.get(), 0, hw::kBusSize));
    auto* header = bus_.at<hw::BusHeader>(0);
    for (uint32_t i = 0; i < header->region_count.load(); ++i) {
      auto* region = bus_.at<hw::RegionEntry>(hw::kRegionTable + i * sizeof(hw::RegionEntry));
      if (region->kind.load() == hw::RegionKind::kFree) continue;
      UniqueFd fd;
      EXPECT_TRUE(client->request(hw::control::Op::kGetFd, region->fd_id, 0, &fd).has_value());
      ram_.push_back({region->base, std::move(*Mapping::shared(fd.get(), region->fd_offset, region->size))});
    }
  }

  hw::MailboxSlot& slot(unsigned i) { return bus_.at<hw::KexecMailbox>(hw::kMailbox)->slot[i]; }
  // The slot with the handover that counts.
  hw::MailboxSlot& current() {
    bool first = slot(0).magic == hw::kMailboxMagic &&
                 (slot(1).magic != hw::kMailboxMagic || slot(0).sequence > slot(1).sequence);
    return slot(first ? 0 : 1);
  }
  std::byte* at(uint64_t phys) {
    for (auto& [base, mapping] : ram_) {
      if (phys >= base && phys - base < mapping.size()) return mapping.data() + (phys - base);
    }
    ADD_FAILURE() << fmt::format("no RAM at {:#x}", phys);
    return nullptr;
  }
  std::byte* fdt() { return at(current().fdt_addr); }
  // The property's eight bytes: the one value in the FDT that is a page inside RAM and no subtree's.
  uint64_t* tree_root_property();

 private:
  Mapping bus_;
  std::vector<std::pair<uint64_t, Mapping>> ram_;
};

// The tree's root as the FDT names it: found by the property's name in the strings block (big-endian header).
uint64_t* Inside::tree_root_property() {
  auto word = [this](size_t offset) {
    uint32_t value;
    std::memcpy(&value, fdt() + offset, sizeof value);
    return __builtin_bswap32(value);
  };
  const uint32_t structs = word(8), strings = word(12), structs_size = word(36);
  for (uint32_t at = 0; at + 12 <= structs_size; at += 4) {
    constexpr uint32_t kProperty = 3;
    if (word(structs + at) != kProperty || word(structs + at + 4) != sizeof(uint64_t)) continue;
    const char* name = reinterpret_cast<const char*>(fdt()) + strings + word(structs + at + 8);
    if (std::strcmp(name, kho::abi::kPropMemoryMap) == 0)
      return reinterpret_cast<uint64_t*>(fdt() + structs + at + 12);
  }
  ADD_FAILURE() << "the FDT has no memory map";
  return nullptr;
}

// Unaligned: an FDT property lies on a four-byte boundary.
uint64_t load(const uint64_t* place) {
  uint64_t value;
  std::memcpy(&value, place, sizeof value);
  return value;
}
void store(uint64_t* place, uint64_t value) { std::memcpy(place, &value, sizeof value); }

struct Damage {
  const char* name;
  std::function<void(Inside&)> inflict;
  const char* logged;
  friend void PrintTo(const Damage& self, std::ostream* out) { *out << self.name; }
};

class DamagedHandover : public ::testing::TestWithParam<Damage> {};

TEST_P(DamagedHandover, IsLoggedAndBootsColdWithTheDeviceTakenOffTheBus) {
  LiveMachine machine;
  ASSERT_TRUE(machine.boot()) << machine.trouble();
  ASSERT_TRUE(machine.wait_for_work(50));
  const uint32_t epoch = machine.status()->total().device_epoch;
  machine.kill_kernel();
  {
    Inside inside(machine);
    GetParam().inflict(inside);
  }
  ASSERT_TRUE(machine.boot("causeway-kernel-next"));

  auto now = machine.status();
  ASSERT_TRUE(now);
  EXPECT_EQ(now->status.boot, kernel::BootKind::kColdAfterDamage);
  EXPECT_THAT(machine.kernel_log(), ContainsRegex(GetParam().logged));
  EXPECT_THAT(machine.kernel_log(), ContainsRegex("cold boot"));
  EXPECT_THAT(machine.kernel_log(), ContainsRegex("taken off the bus"));
  EXPECT_FALSE(now->total().adopted);
  EXPECT_NE(now->total().device_epoch, epoch) << "the device was reset, not adopted";

  // The device streams anew, into memory of its own: nothing that was handed out is written to.
  EXPECT_TRUE(machine.wait_for_work(200));
  now = machine.status();
  ASSERT_TRUE(now);
  drivers::DmaEngineStats total = now->total();
  EXPECT_EQ(total.lost + total.corrupted + total.replayed + total.refused + total.device_refused, 0u);
  EXPECT_GT(now->status.pressure_rounds, 0u);
  EXPECT_EQ(now->status.pressure_damaged, 0u);
  EXPECT_EQ(now->status.pages.bad_pages, 0u);
  EXPECT_THAT(now->status.driver_errors, IsEmpty());
}

const Damage kDamages[] = {
    {"MailboxChecksum",
     [](Inside& inside) {
       for (unsigned i = 0; i < 2; ++i) inside.slot(i).checksum ^= 1;
     },
     "mailbox is damaged"},
    {"MailboxAddressChanged", [](Inside& inside) { inside.current().fdt_addr += kPageSize; }, "mailbox is damaged"},
    {"FdtMagic", [](Inside& inside) { inside.fdt()[0] ^= std::byte{0xff}; }, "handover cannot be used"},
    {"FdtZeroed", [](Inside& inside) { std::memset(inside.fdt(), 0, kPageSize); }, "handover cannot be used"},
    {"FdtGarbage",
     [](Inside& inside) {
       for (uint64_t i = 64; i < kPageSize; ++i) inside.fdt()[i] = std::byte(i * 37);
     },
     "handover cannot be used"},
    {"TreeRootOutsideRam", [](Inside& inside) { store(inside.tree_root_property(), GiB(64)); },
     "handover cannot be used"},
    {"TreeRootUnaligned",
     [](Inside& inside) { store(inside.tree_root_property(), load(inside.tree_root_property()) + 8); },
     "handover cannot be used"},
    {"TreeChildOutsideRam",
     [](Inside& inside) {
       auto* node = reinterpret_cast<kho::abi::RadixNode*>(inside.at(load(inside.tree_root_property())));
       for (uint64_t& child : node->child)
         if (child != 0) child = GiB(1024);
     },
     "handover cannot be used"},
    {"TreeCycle",
     [](Inside& inside) {
       uint64_t root = load(inside.tree_root_property());
       auto* node = reinterpret_cast<kho::abi::RadixNode*>(inside.at(root));
       for (uint64_t& child : node->child)
         if (child != 0) child = root;
     },
     "handover cannot be used"},
    {"TreeAllOnes",
     [](Inside& inside) { std::memset(inside.at(load(inside.tree_root_property())), 0xff, kPageSize); },
     "handover cannot be used"},
};
INSTANTIATE_TEST_SUITE_P(All, DamagedHandover, ::testing::ValuesIn(kDamages),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace causeway::tests
