#include "machine/region_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <thread>

#include "base/log.h"
#include "machine/dma_port.h"

namespace causeway::machine {
namespace {

UniqueFd memfd(uint64_t size) {
  UniqueFd fd(::memfd_create("client", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}
UniqueFd duplicate(const UniqueFd& fd) {
  return UniqueFd(::dup(fd.get()));
}

class RegionMapTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(map.add_boot_ram(MiB(64))); }
  RegionMap::Placement add(uint64_t size) {
    auto placement = map.hot_add(memfd(size), size);
    EXPECT_TRUE(placement);
    return placement ? *placement : RegionMap::Placement{};
  }
  Errno add_error(UniqueFd fd, uint64_t size) {
    auto placement = map.hot_add(std::move(fd), size);
    return placement ? Errno{0} : placement.error().code;
  }

  BusMemory bus = *BusMemory::create();
  RegionMap map{bus};
  IdentityTranslation identity;
};

TEST_F(RegionMapTest, BootRamIsSplitAndPublished) {
  EXPECT_EQ(bus.header().region_count.load(), 2u);
  EXPECT_EQ(bus.region(0).base, 0u);
  EXPECT_EQ(bus.region(0).size, MiB(32));
  EXPECT_EQ(bus.region(1).base, GiB(4));
  EXPECT_EQ(bus.region(1).fd_offset, MiB(32));
  EXPECT_EQ(bus.region(1).fd_id, bus.region(0).fd_id);
  EXPECT_EQ(bus.region(1).kind.load(), hw::RegionKind::kBootRam);
  EXPECT_EQ(map.find(PhysAddr{MiB(32) - 1}).bytes, 1u);
  EXPECT_EQ(map.find(PhysAddr{MiB(32)}).data, nullptr);
  EXPECT_EQ(map.find(PhysAddr{GiB(4)}).bytes, MiB(32));
}

TEST(BootRam, OddSizesAreEinval) {
  BusMemory bus = *BusMemory::create();
  for (uint64_t size : {uint64_t{0}, MiB(4), MiB(12), MiB(64) + 1, uint64_t{1} << 46, ~uint64_t{0}}) {
    RegionMap map(bus);
    auto added = map.add_boot_ram(size);
    ASSERT_FALSE(added) << size;
    EXPECT_EQ(added.error().code, Errno{EINVAL}) << size;
  }
}

TEST(BootRam, CannotBeTruncatedByWhoHoldsIt) {
  BusMemory bus = *BusMemory::create();
  RegionMap map(bus);
  ASSERT_TRUE(map.add_boot_ram(MiB(8)));
  UniqueFd ram = *map.duplicate_fd(0);
  EXPECT_NE(::ftruncate(ram.get(), 0), 0);
  EXPECT_NE(::ftruncate(bus.fd(), 0), 0);
}

TEST_F(RegionMapTest, HotAddedRegionsAreAlignedAboveBootRam) {
  auto a = add(kPageSize);
  auto b = add(MiB(129));
  auto c = add(kPageSize);
  EXPECT_EQ(a.base, PhysAddr{GiB(4) + MiB(32)});
  EXPECT_EQ(b.base, a.base + MiB(2));
  EXPECT_EQ(c.base, b.base + MiB(130));
  EXPECT_EQ(a.index, 2u);
  EXPECT_EQ(bus.region(b.index).kind.load(), hw::RegionKind::kHotAdded);
  EXPECT_EQ(bus.region(b.index).base, b.base.value());
}

TEST_F(RegionMapTest, HolesAndIndicesAreUsedAgainButFdIdsAreNot) {
  auto a = add(MiB(1));
  auto b = add(MiB(1));
  add(MiB(1));
  uint32_t old_id = bus.region(b.index).fd_id;
  ASSERT_TRUE(map.remove(b.index));
  EXPECT_EQ(bus.region(b.index).kind.load(), hw::RegionKind::kFree);
  EXPECT_EQ(map.find(b.base).data, nullptr);
  auto too_big = add(MiB(3));
  EXPECT_GT(too_big.base, b.base + MiB(2)) << "the hole is 2 MiB";
  EXPECT_EQ(too_big.index, b.index);
  auto fits = add(MiB(2));
  EXPECT_EQ(fits.base, b.base);
  EXPECT_FALSE(map.duplicate_fd(old_id));
  ASSERT_TRUE(map.remove(a.index));
  EXPECT_EQ(add(kPageSize).base, a.base) << "also right after boot ram";
}

TEST_F(RegionMapTest, BadDescriptorsAndSizesAreEinval) {
  EXPECT_EQ(add_error(memfd(kPageSize), 0), Errno{EINVAL});
  EXPECT_EQ(add_error(memfd(kPageSize), 100), Errno{EINVAL});
  EXPECT_EQ(add_error(memfd(kPageSize), 2 * kPageSize), Errno{EINVAL});
  EXPECT_EQ(add_error(memfd(kPageSize), ~kPageMask << 20), Errno{EINVAL});
  EXPECT_EQ(add_error(UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC)), kPageSize), Errno{EINVAL});
  UniqueFd file = memfd(kPageSize);
  std::string path = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_EQ(add_error(UniqueFd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)), kPageSize), Errno{EINVAL});
  int pipes[2];
  ASSERT_EQ(::pipe2(pipes, O_CLOEXEC), 0);
  UniqueFd reader(pipes[0]), writer(pipes[1]);
  EXPECT_EQ(add_error(std::move(reader), kPageSize), Errno{EINVAL});
  EXPECT_EQ(map.totals().regions, 2u);
}

TEST_F(RegionMapTest, RemovalHasTheRightErrors) {
  EXPECT_EQ(map.remove(0).error().code, Errno{EBUSY});
  EXPECT_EQ(map.remove(2).error().code, Errno{ENOENT});
  auto a = add(kPageSize);
  EXPECT_TRUE(map.remove(a.index));
  EXPECT_EQ(map.remove(a.index).error().code, Errno{ENOENT});
}

TEST_F(RegionMapTest, ContentsAreTheClientsOwn) {
  UniqueFd fd = memfd(2 * kPageSize);
  Mapping client = *Mapping::shared(fd.get(), 0, 2 * kPageSize);
  client.data()[kPageSize + 5] = std::byte{42};
  auto placement = *map.hot_add(duplicate(fd), 2 * kPageSize);
  EXPECT_EQ(*map.find(placement.base + kPageSize + 5).data, std::byte{42});
}

TEST_F(RegionMapTest, PortRefusesUntilTheBusIsOn) {
  DmaPort port(map, identity, Bdf(0, 1, 0));
  uint64_t word = 7;
  EXPECT_EQ(port.write(DmaAddr{0}, &word, 8), DmaStatus::kBusMasterOff);
  port.set_bus_master(true);
  EXPECT_EQ(port.write(DmaAddr{0}, &word, 8), DmaStatus::kOk);
  uint64_t back = 0;
  EXPECT_EQ(port.read(DmaAddr{0}, &back, 8), DmaStatus::kOk);
  EXPECT_EQ(back, 7u);
}

TEST_F(RegionMapTest, TransferGoesOverTheBorderOfTwoRegions) {
  auto a = add(MiB(128));
  auto b = add(kPageSize);
  ASSERT_EQ(b.base, a.base + MiB(128));
  DmaPort port(map, identity, Bdf(0, 1, 0));
  port.set_bus_master(true);
  uint64_t word = 0x1122334455667788;
  EXPECT_EQ(port.write(DmaAddr{b.base.value() - 3}, &word, 8), DmaStatus::kOk);
  EXPECT_EQ(*map.find(a.base + (MiB(128) - 1)).data, std::byte{0x66});
  EXPECT_EQ(*map.find(b.base).data, std::byte{0x55});
}

TEST_F(RegionMapTest, RefusedTransferHasMovedNothing) {
  DmaPort port(map, identity, Bdf(0, 1, 0));
  port.set_bus_master(true);
  std::byte* last = map.find(PhysAddr{MiB(32) - 8}).data;
  uint64_t words[2] = {~uint64_t{0}, ~uint64_t{0}};
  EXPECT_EQ(port.write(DmaAddr{MiB(32) - 8}, words, 16), DmaStatus::kNoRam);
  EXPECT_EQ(*last, std::byte{0});
}

TEST_F(RegionMapTest, ClientThatShrinksItsFileOnlyGetsRefusals) {
  UniqueFd fd = memfd(4 * kPageSize);
  auto placement = *map.hot_add(duplicate(fd), 4 * kPageSize);
  DmaPort port(map, identity, Bdf(0, 1, 0));
  port.set_bus_master(true);
  std::vector<std::byte> data(4 * kPageSize, std::byte{1});
  DmaAddr address{placement.base.value()};
  EXPECT_EQ(port.write(address, data.data(), data.size()), DmaStatus::kOk);
  ASSERT_EQ(::ftruncate(fd.get(), kPageSize), 0);
  EXPECT_EQ(port.write(address, data.data(), data.size()), DmaStatus::kNoRam);
  EXPECT_EQ(port.read(address + 2 * kPageSize, data.data(), 8), DmaStatus::kNoRam);
  EXPECT_EQ(port.write(address, data.data(), kPageSize), DmaStatus::kOk);
}

TEST_F(RegionMapTest, AFilesLastPageMayBeAPartOfOne) {
  EXPECT_TRUE(map.hot_add(memfd(kPageSize + 1), 2 * kPageSize));
  EXPECT_EQ(add_error(memfd(kPageSize), 2 * kPageSize), Errno{EINVAL});
}

TEST_F(RegionMapTest, ReadOnlyAndSealedFilesAreReadByDevicesAndNeverWritten) {
  DmaPort port(map, identity, Bdf(0, 1, 0));
  port.set_bus_master(true);
  for (int seal : {0, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE}) {
    UniqueFd fd = memfd(2 * kPageSize);
    uint64_t word = 77, back = 0;
    ASSERT_EQ(::pwrite(fd.get(), &word, 8, 0), 8);
    UniqueFd given = duplicate(fd);
    if (seal == 0)
      given.reset(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
    else
      ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seal), 0);
    auto placement = *map.hot_add(std::move(given), 2 * kPageSize);
    EXPECT_EQ(bus.region(placement.index).kind.load(), hw::RegionKind::kHotAddedReadOnly) << seal;
    EXPECT_EQ(bus.region(placement.index).inode, [&] {
      struct stat info {};
      ::fstat(fd.get(), &info);
      return info.st_ino;
    }());
    EXPECT_EQ(port.read(DmaAddr{placement.base.value()}, &back, 8), DmaStatus::kOk);
    EXPECT_EQ(back, 77u);
    EXPECT_EQ(port.write(DmaAddr{placement.base.value()}, &word, 8), DmaStatus::kReadOnly);
    EXPECT_TRUE(map.remove(placement.index));
  }
}

TEST_F(RegionMapTest, RegionsComeAndGoUnderDma) {
  DmaPort port(map, identity, Bdf(0, 1, 0));
  port.set_bus_master(true);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> done{0}, refused{0};
  std::thread device([&] {
    std::vector<std::byte> data(KiB(16), std::byte{3});
    while (!stop.load()) {
      for (uint64_t slot = 1; slot <= 4; ++slot) {
        DmaStatus status = port.write(DmaAddr{GiB(4) + MiB(32) + (slot - 1) * hw::kHotAddAlignment}, data.data(), data.size());
        (status == DmaStatus::kOk ? done : refused).fetch_add(1);
      }
    }
  });
  for (int round = 0; round < 200; ++round) {
    auto a = add(KiB(16)), b = add(KiB(16));
    EXPECT_TRUE(map.remove(a.index));
    EXPECT_TRUE(map.remove(b.index));
  }
  auto stays = add(KiB(16));
  uint64_t before = done.load();
  while (done.load() < before + 10) std::this_thread::yield();
  stop.store(true);
  device.join();
  EXPECT_GT(refused.load(), 0u);
  EXPECT_TRUE(map.remove(stays.index));
}

TEST_F(RegionMapTest, BusMasterOffWaitsForTheTransferInFlight) {
  DmaPort port(map, identity, Bdf(0, 1, 0));
  std::atomic<bool> stop{false};
  std::thread device([&] {
    std::vector<std::byte> data(DmaPort::kMaxTransfer);
    for (unsigned char turn = 0; !stop.load(); ++turn) {
      std::fill(data.begin(), data.end(), std::byte{turn});
      (void)port.write(DmaAddr{0}, data.data(), data.size());
    }
  });
  std::byte* ram = map.find(PhysAddr{0}).data;
  for (int round = 0; round < 50; ++round) {
    port.set_bus_master(true);
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    port.set_bus_master(false);
    // Whole or not at all, and nothing afterwards.
    std::vector<std::byte> seen(ram, ram + DmaPort::kMaxTransfer);
    ASSERT_EQ(std::count(seen.begin(), seen.end(), seen[0]), static_cast<ptrdiff_t>(seen.size()));
    ASSERT_EQ(std::memcmp(seen.data(), ram, seen.size()), 0);
  }
  stop.store(true);
  device.join();
}

// A translation that maps page by page, backwards, to prove that the port asks for every run.
TEST_F(RegionMapTest, TranslatedRunsAreJoined) {
  class Backwards final : public Translation {
   public:
    Run translate(Bdf, DmaAddr address, uint64_t bytes, Access access) override {
      if (address.value() >= 8 * kPageSize || (access == Access::kWrite && read_only)) return {};
      uint64_t page = 7 - address.value() / kPageSize;
      return {PhysAddr(page * kPageSize + address.page_offset()),
              std::min(bytes, kPageSize - address.page_offset())};
    }
    bool read_only = false;
  } backwards;
  DmaPort port(map, backwards, Bdf(0, 1, 0));
  port.set_bus_master(true);
  std::vector<std::byte> data(3 * kPageSize);
  for (size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i / kPageSize + 1);
  EXPECT_EQ(port.write(DmaAddr{kPageSize / 2}, data.data(), data.size()), DmaStatus::kOk);
  EXPECT_EQ(*map.find(PhysAddr{7 * kPageSize + kPageSize / 2}).data, std::byte{1});
  EXPECT_EQ(*map.find(PhysAddr{6 * kPageSize}).data, std::byte{1});
  EXPECT_EQ(*map.find(PhysAddr{4 * kPageSize}).data, std::byte{3});
  std::vector<std::byte> back(data.size());
  EXPECT_EQ(port.read(DmaAddr{kPageSize / 2}, back.data(), back.size()), DmaStatus::kOk);
  EXPECT_EQ(back, data);
  EXPECT_EQ(port.read(DmaAddr{7 * kPageSize}, back.data(), back.size()), DmaStatus::kNotMapped);
  backwards.read_only = true;
  EXPECT_EQ(port.write(DmaAddr{0}, data.data(), 8), DmaStatus::kNotMapped);
}

}  // namespace
}  // namespace causeway::machine
