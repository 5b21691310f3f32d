#include "memfd/memfd_handler.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "memfd/abi/memfd_v2.h"
#include "memfd/testing/system.h"

namespace causeway::memfd {
namespace {

using namespace testing;

class MemfdTest : public ::testing::Test {
 protected:
  void TearDown() override { point::disarm_all(); }
  void finish(Retrieved& file) { system.handler().finish(file.args); }
  log::Capture quiet;
  System system;
};

int seals_of(int fd) {
  return ::fcntl(fd, F_GET_SEALS);
}

TEST_F(MemfdTest, TakesAnonymousMemoryAndNothingElse) {
  UniqueFd memory = make_memfd(kPageSize);
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(system.handler().can_preserve(open_file(memory)));
  EXPECT_FALSE(system.handler().can_preserve(open_file(null)));
  EXPECT_FALSE(system.handler().can_preserve(nullptr));
  EXPECT_STREQ(system.handler().compatible(), "memfd-v2");
}

TEST_F(MemfdTest, TwoDescriptorsOfOneFileHaveOneId) {
  UniqueFd fd = make_memfd(kPageSize), other = make_memfd(kPageSize);
  UniqueFd again(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(system.handler().id(open_file(fd)), system.handler().id(open_file(again)));
  EXPECT_NE(system.handler().id(open_file(fd)), system.handler().id(open_file(other)));
}

TEST_F(MemfdTest, TheRecordIsWhatLinuxWrites) {
  UniqueFd fd = make_memfd(MiB(2) + kPageSize + 1);
  luo::FileArgs args = preserve(system, fd);
  ASSERT_EQ(::lseek(fd.get(), 5, SEEK_SET), 5);
  // Another description of the same file has a position of its own.
  args.file = open_file(fd);
  freeze(system, args);
  const auto& ser = *system.at<abi::Ser>(args.serialized_data);
  EXPECT_EQ(ser.position, 5u);
  EXPECT_EQ(ser.size, MiB(2) + kPageSize + 1);
  EXPECT_EQ(ser.seals, 0u);
  EXPECT_EQ(ser.flags, 0u);
  EXPECT_EQ(ser.nr_folios, 2u);
  EXPECT_EQ(ser.folios.total_pages, 1u);
  EXPECT_EQ(ser.folios.flags, 1u);
  const auto& chunk = *system.at<kho::abi::VmallocChunk>(ser.folios.first);
  const auto* folios = system.at<abi::FolioSer>(chunk.phys[0]);
  EXPECT_EQ(abi::folio_flags(folios[0]), 3u);
  EXPECT_EQ(folios[0].index, 0u);
  EXPECT_EQ(folios[1].index, 512u);
  EXPECT_EQ(abi::folio_pfn(folios[1]), abi::folio_pfn(folios[0]) + 512);
}

TEST_F(MemfdTest, ContentsAreTheSameAcrossThreeHops) {
  UniqueFd fd = make_memfd(5 * MiB(1) + 123);
  fill(fd.get(), 1, 0, 1280);
  ASSERT_EQ(::lseek(fd.get(), 4321, SEEK_SET), 4321);
  const ino_t inode = stat_of(fd.get()).st_ino;
  uint64_t free_before = 0;
  for (int hop = 0; hop < 3; ++hop) {
    luo::FileArgs args = preserve(system, fd);
    const uint64_t record = freeze(system, args);
    // What is written after the freeze, even after the kernel's death, is in the file.
    system.kexec();
    fill(fd.get(), static_cast<uint64_t>(hop) + 10, 7, 1);
    Retrieved back = retrieve(system, record);
    ASSERT_TRUE(back.status);
    EXPECT_EQ(stat_of(back.fd()).st_ino, inode);
    EXPECT_EQ(stat_of(back.fd()).st_size, static_cast<off_t>(5 * MiB(1) + 123));
    EXPECT_EQ(::lseek(back.fd(), 0, SEEK_CUR), 4321);
    EXPECT_TRUE(is_filled(back.fd(), 1, 0, 7));
    EXPECT_TRUE(is_filled(back.fd(), static_cast<uint64_t>(hop) + 10, 7, 1));
    EXPECT_TRUE(is_filled(back.fd(), 1, 8, 1272));
    fill(back.fd(), 1, 7, 1);
    EXPECT_EQ(system.machine_regions(), 1u);
    finish(back);
    EXPECT_EQ(system.machine_regions(), 0u);
    EXPECT_TRUE(system.kho().unrestored().empty());
    if (hop == 0) free_before = system.free_pages();
    EXPECT_EQ(system.free_pages(), free_before);
    fd = duplicate(UniqueFd(::fcntl(back.fd(), F_DUPFD_CLOEXEC, 0)));
  }
}

TEST_F(MemfdTest, RetrieveGivesANewOpenFileOfTheSameMemory) {
  UniqueFd fd = make_memfd(kPageSize);
  luo::FileArgs args = preserve(system, fd);
  const uint64_t record = freeze(system, args);
  system.kexec();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  ASSERT_EQ(::lseek(fd.get(), 100, SEEK_SET), 100);
  EXPECT_EQ(::lseek(back.fd(), 0, SEEK_CUR), 0);
  EXPECT_EQ(::fcntl(back.fd(), F_GETFL) & O_ACCMODE, O_RDWR);
  fill(fd.get(), 3, 0, 1);
  EXPECT_TRUE(is_filled(back.fd(), 3, 0, 1));
  finish(back);
}

TEST_F(MemfdTest, AnEmptyFileHasNoFolios) {
  UniqueFd fd = make_memfd(0);
  luo::FileArgs args = preserve(system, fd);
  const uint64_t record = freeze(system, args);
  EXPECT_EQ(system.at<abi::Ser>(record)->nr_folios, 0u);
  EXPECT_EQ(system.machine_regions(), 0u);
  system.kexec();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_EQ(stat_of(back.fd()).st_size, 0);
  finish(back);
  EXPECT_TRUE(system.kho().unrestored().empty());
}

TEST_F(MemfdTest, SealedFilesAndReadOnlyDescriptorsComeBack) {
  for (int seals : {0, F_SEAL_WRITE | F_SEAL_SHRINK, F_SEAL_FUTURE_WRITE, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL}) {
    UniqueFd fd = make_memfd(3 * kPageSize);
    fill(fd.get(), 4, 0, 3);
    ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    UniqueFd reading(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
    luo::FileArgs args = preserve(system, reading);
    const uint64_t record = freeze(system, args);
    system.kexec();
    Retrieved back = retrieve(system, record);
    ASSERT_TRUE(back.status) << seals;
    EXPECT_EQ(seals_of(back.fd()), seals);
    EXPECT_EQ(::fcntl(back.fd(), F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_TRUE(is_filled(back.fd(), 4, 0, 3));
    finish(back);
  }
}

TEST_F(MemfdTest, FreezeLooksAtPositionAndSizeAgain) {
  UniqueFd fd = make_memfd(4 * kPageSize);
  luo::FileArgs args = preserve(system, fd);
  ASSERT_EQ(::lseek(fd.get(), 99, SEEK_SET), 99);
  ASSERT_EQ(::ftruncate(fd.get(), 5 * kPageSize), 0);
  EXPECT_EQ(error_of(system.handler().freeze(args)), EPERM);
  ASSERT_EQ(::ftruncate(fd.get(), kPageSize + 1), 0);
  const uint64_t record = freeze(system, args);
  EXPECT_EQ(system.at<abi::Ser>(record)->position, 99u);
  system.kexec();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_EQ(stat_of(back.fd()).st_size, static_cast<off_t>(kPageSize + 1));
  finish(back);
}

TEST_F(MemfdTest, UnpreserveLeavesNoTrace) {
  UniqueFd fd = make_memfd(MiB(3) + kPageSize);
  luo::FileArgs warm_up = preserve(system, fd);  // nodes of the tree stay
  system.handler().unpreserve(warm_up);
  const kho::KhoStats before = system.kho().stats();
  const uint64_t free = system.free_pages();
  luo::FileArgs args = preserve(system, fd);
  EXPECT_GT(system.kho().stats().preserved_blocks, before.preserved_blocks);
  system.handler().unpreserve(args);
  system.handler().unpreserve(args);
  EXPECT_EQ(system.kho().stats().preserved_blocks, before.preserved_blocks);
  EXPECT_EQ(system.kho().stats().preserved_pages, before.preserved_pages);
  EXPECT_EQ(system.free_pages(), free);
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_EQ(args.serialized_data, 0u);
}

TEST_F(MemfdTest, SixtyFourGiBStaySparseOnBothSides) {
  UniqueFd fd = make_memfd(GiB(64));
  fill(fd.get(), 2, 1'000'000, 1);
  const blkcnt_t blocks = stat_of(fd.get()).st_blocks;
  luo::FileArgs args = preserve(system, fd);
  const uint64_t record = freeze(system, args);
  EXPECT_EQ(system.at<abi::Ser>(record)->nr_folios, 32'768u);
  system.kexec();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_TRUE(is_filled(back.fd(), 2, 1'000'000, 1));
  finish(back);
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_EQ(stat_of(fd.get()).st_blocks, blocks);
}

TEST_F(MemfdTest, SixHundredFilesComeBackEachItself) {
  std::vector<UniqueFd> fds;
  std::vector<uint64_t> records;
  std::vector<luo::FileArgs> all;
  for (uint64_t i = 0; i < 600; ++i) {
    UniqueFd fd = make_memfd(kPageSize);
    fill(fd.get(), i, 0, 1);
    all.push_back(preserve(system, fd));
    records.push_back(freeze(system, all.back()));
  }
  all.clear();
  system.kexec();
  EXPECT_EQ(system.machine_regions(), 600u);
  for (uint64_t i = 0; i < 600; ++i) {
    Retrieved back = retrieve(system, records[i]);
    ASSERT_TRUE(back.status);
    EXPECT_TRUE(is_filled(back.fd(), i, 0, 1));
    finish(back);
  }
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_TRUE(system.kho().unrestored().empty());
}

TEST_F(MemfdTest, FinishOfWhatNobodyRetrievedGivesEverythingBack) {
  UniqueFd fd = make_memfd(MiB(2) + 3 * kPageSize);
  fill(fd.get(), 6, 0, 500);
  luo::FileArgs args = preserve(system, fd);
  luo::FileArgs incoming{.serialized_data = freeze(system, args)};
  args = {};
  system.kexec();
  system.handler().finish(incoming);
  EXPECT_TRUE(system.kho().unrestored().empty());
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_TRUE(is_filled(fd.get(), 6, 0, 500));
}

TEST_F(MemfdTest, BeforeTheCommitTheOldHandoverStaysWhole) {
  UniqueFd fd = make_memfd(MiB(1));
  fill(fd.get(), 8, 0, 256);
  luo::FileArgs args = preserve(system, fd);
  const uint64_t record = freeze(system, args);
  args = {};
  system.kexec_without_commit();
  Retrieved lost = retrieve(system, record);
  ASSERT_TRUE(lost.status);
  finish(lost);
  EXPECT_EQ(system.machine_regions(), 1u);
  lost.args = {};
  // It dies here; its successor finds all of it again.
  system.crash();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_TRUE(is_filled(back.fd(), 8, 0, 256));
  finish(back);
  EXPECT_EQ(system.machine_regions(), 0u);
}

TEST_F(MemfdTest, WhatNobodyAsksForStaysForThisBootAndGoesAtTheNext) {
  UniqueFd fd = make_memfd(MiB(1));
  luo::FileArgs args = preserve(system, fd);
  system.commit();
  args.private_data.reset();  // the kernel dies without a freeze: no session names the file
  system.crash();
  EXPECT_EQ(system.memory().drop_unused(), 0u);
  const uint64_t free = system.free_pages();
  system.kexec();
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_GE(system.free_pages(), free);
}

// -- Folios in boot RAM, as a Linux kernel leaves them.

struct Image {
  std::vector<std::pair<mm::Page*, unsigned>> folios;
  abi::Ser* ser = nullptr;
  abi::FolioSer* entries = nullptr;
};

// Folios of these orders one after the other, filled with `seed`; those of odd number hold zeros only.
Image write_image(System& system, const std::vector<unsigned>& orders, uint64_t size, uint32_t seals, uint64_t seed) {
  Image image;
  image.ser = static_cast<abi::Ser*>(must(system.kho().alloc_preserve(sizeof(abi::Ser))));
  const mm::VmArea* area = must(system.vmalloc().alloc(orders.size() * sizeof(abi::FolioSer), mm::kGfpKernel));
  image.entries = reinterpret_cast<abi::FolioSer*>(area->address);
  uint64_t index = 0;
  for (size_t i = 0; i < orders.size(); ++i) {
    const Order order(orders[i]);
    mm::Page* folio = must(system.pages().alloc_pages(order, mm::kGfpKernel | mm::kGfpZero | mm::Gfp::kComp));
    for (uint64_t page = 0; i % 2 == 0 && page < order.pages(); ++page) {
      const uint64_t at = page * kPageSize + (index + page) % 100 * 8;
      *reinterpret_cast<uint64_t*>(system.map().address(folio) + at) = pattern(seed, index + page);
    }
    must(system.kho().preserve_folio(folio));
    image.entries[i] = abi::make_folio(system.map().pfn(folio).value(), index);
    image.folios.emplace_back(folio, orders[i]);
    index += order.pages();
  }
  image.ser->folios = must(system.kho().preserve_vmalloc(area->address));
  image.ser->nr_folios = orders.size();
  image.ser->size = size;
  image.ser->seals = seals;
  image.ser->position = 17;
  return image;
}

TEST_F(MemfdTest, FoliosInBootRamAreCopiedAndFreed) {
  Image image = write_image(system, {9, 3, 0, 4}, (512 + 8 + 1 + 3) * kPageSize + 9, F_SEAL_WRITE | F_SEAL_GROW, 5);
  const uint64_t record = system.kho().map().direct_map().to_phys(image.ser).value();
  system.kexec();
  const uint64_t free = system.free_pages();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_EQ(stat_of(back.fd()).st_size, static_cast<off_t>(524 * kPageSize + 9));
  EXPECT_EQ(seals_of(back.fd()), F_SEAL_WRITE | F_SEAL_GROW);
  EXPECT_EQ(::lseek(back.fd(), 0, SEEK_CUR), 17);
  EXPECT_TRUE(is_filled(back.fd(), 5, 0, 512));
  EXPECT_TRUE(is_filled(back.fd(), 5, 520, 1));
  EXPECT_EQ(stat_of(back.fd()).st_blocks, 513 * 8) << "pages of zeros are holes";
  finish(back);
  EXPECT_TRUE(system.kho().unrestored().empty());
  EXPECT_EQ(system.free_pages(), free + 512 + 8 + 1 + 16 + 3) << "folios, record, chunk and array";
}

TEST_F(MemfdTest, FoliosInBootRamAreFreedByFinishAlone) {
  Image image = write_image(system, {2, 0}, 5 * kPageSize, 0, 5);
  luo::FileArgs incoming{.serialized_data = system.map().direct_map().to_phys(image.ser).value()};
  system.kexec();
  const uint64_t free = system.free_pages();
  system.handler().finish(incoming);
  EXPECT_EQ(system.free_pages(), free + 4 + 1 + 3);
}

TEST_F(MemfdTest, PartsOfAClientsFileAreCopiedOutOfIt) {
  UniqueFd fd = make_memfd(4 * kPageSize);
  fill(fd.get(), 3, 0, 4);
  luo::FileArgs args = preserve(system, fd);
  const uint64_t record = freeze(system, args);
  // The same folio a page later: not the file any more.
  auto& ser = *system.at<abi::Ser>(record);
  system.at<abi::FolioSer>(system.at<kho::abi::VmallocChunk>(ser.folios.first)->phys[0])[0].index = 1;
  ser.size = 5 * kPageSize;
  args.private_data.reset();
  system.kexec();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_NE(stat_of(back.fd()).st_ino, stat_of(fd.get()).st_ino);
  std::byte moved[8 * 4], original[8 * 4];
  ASSERT_EQ(::pread(back.fd(), moved, sizeof moved, 2 * kPageSize), 32);
  ASSERT_EQ(::pread(fd.get(), original, sizeof original, kPageSize), 32);
  EXPECT_EQ(std::memcmp(moved, original, 32), 0);
  finish(back);
  EXPECT_TRUE(system.kho().unrestored().empty());
}

// -- Damage.

struct Damage {
  const char* name;
  int error;
  std::function<void(abi::Ser&, abi::FolioSer*)> apply;
};

std::ostream& operator<<(std::ostream& out, const Damage& damage) {
  return out << damage.name;
}

class DamagedRecord : public ::testing::TestWithParam<Damage> {
 protected:
  log::Capture quiet;
  System system;
};

TEST_P(DamagedRecord, IsAnErrorAndNothingIsFreed) {
  Image image = write_image(system, {1, 0, 0}, 4 * kPageSize, 0, 5);
  std::vector<PhysAddr> folios;
  for (auto& [page, order] : image.folios) folios.push_back(system.map().phys(page));
  const uint64_t record = system.map().direct_map().to_phys(image.ser).value();
  GetParam().apply(*image.ser, image.entries);
  system.kexec();
  Retrieved back = retrieve(system, record);
  EXPECT_EQ(error_of(back.status), GetParam().error);
  system.handler().finish(back.args);
  luo::FileArgs never{.serialized_data = record};
  system.handler().finish(never);
  for (PhysAddr folio : folios) EXPECT_EQ(system.pages().state(Pfn::containing(folio)), mm::FrameState::kReserved);
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, DamagedRecord,
    ::testing::Values(
        Damage{"UnknownSeal", EOPNOTSUPP, [](abi::Ser& s, abi::FolioSer*) { s.seals = 0x40; }},
        Damage{"HugeSize", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.size = ~uint64_t{0}; }},
        Damage{"NegativePosition", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.position = ~uint64_t{0}; }},
        Damage{"CountAboveTheArray", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.nr_folios = 257; }},
        Damage{"AbsurdCount", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.nr_folios = ~uint64_t{0}; }},
        Damage{"NoArray", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.folios = {}; }},
        Damage{"ArrayElsewhere", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.folios.first = MiB(1); }},
        Damage{"ArrayOfManyPages", EINVAL, [](abi::Ser& s, abi::FolioSer*) { s.folios.total_pages = ~0u; }},
        Damage{"IndexDescends", EINVAL, [](abi::Ser&, abi::FolioSer* f) { f[2].index = 0; }},
        Damage{"IndexInsideAFolio", EINVAL, [](abi::Ser&, abi::FolioSer* f) { f[1].index = 1; }},
        Damage{"IndexOutOfRange", EINVAL, [](abi::Ser&, abi::FolioSer* f) { f[2].index = ~uint64_t{0}; }},
        Damage{"FolioNotPreserved", EIO, [](abi::Ser&, abi::FolioSer* f) { f[1].pfn_and_flags = 0x101; }},
        Damage{"TailOfAFolio", EIO, [](abi::Ser&, abi::FolioSer* f) { f[1].pfn_and_flags = f[0].pfn_and_flags + 1; }},
        Damage{"FolioBeyondMemory", EIO,
               [](abi::Ser&, abi::FolioSer* f) { f[1].pfn_and_flags = (uint64_t{1} << 52) - 1; }},
        Damage{"SameFolioTwice", EIO, [](abi::Ser&, abi::FolioSer* f) { f[2].pfn_and_flags = f[1].pfn_and_flags; }}),
    [](const ::testing::TestParamInfo<Damage>& param) { return param.param.name; });

TEST_F(MemfdTest, ARecordThatIsNoPreservedPageIsEinval) {
  system.kexec();
  for (uint64_t data : {uint64_t{0}, uint64_t{1}, MiB(2), MiB(2) + 8, GiB(4) + MiB(64), ~uint64_t{0}, ~kPageSize + 1})
    EXPECT_EQ(error_of(retrieve(system, data).status), EINVAL) << data;
}

TEST_F(MemfdTest, ARecordInClientMemoryIsNotRead) {
  UniqueFd fd = make_memfd(kPageSize);
  luo::FileArgs args = preserve(system, fd);
  freeze(system, args);
  const auto& ser = *system.at<abi::Ser>(args.serialized_data);
  const auto& chunk = *system.at<kho::abi::VmallocChunk>(ser.folios.first);
  const uint64_t frame = abi::folio_pfn(*system.at<abi::FolioSer>(chunk.phys[0])) << kPageShift;
  args.private_data.reset();
  system.kexec();
  EXPECT_EQ(error_of(retrieve(system, frame).status), EINVAL);
  EXPECT_EQ(system.kho().restore_folio(PhysAddr(frame)), nullptr);
  EXPECT_EQ(system.kho().restore_pages(PhysAddr(frame), 1), nullptr);
  EXPECT_FALSE(system.kho().preserved_order(PhysAddr(frame)));
  EXPECT_EQ(system.kho().client_order(PhysAddr(frame)), kOrder0);
  EXPECT_TRUE(system.kho().claim(PhysAddr(frame)));
  EXPECT_FALSE(system.kho().claim(PhysAddr(frame)));
  EXPECT_FALSE(system.kho().claim(PhysAddr(MiB(2))));
}

TEST_F(MemfdTest, EntriesOfFrameZeroAreSkipped) {
  Image image = write_image(system, {0, 0}, 2 * kPageSize, 0, 5);
  const uint64_t record = system.map().direct_map().to_phys(image.ser).value();
  image.entries[1].pfn_and_flags = 0;
  system.kexec();
  Retrieved back = retrieve(system, record);
  ASSERT_TRUE(back.status);
  EXPECT_TRUE(is_filled(back.fd(), 5, 0, 1));
  EXPECT_EQ(stat_of(back.fd()).st_size, static_cast<off_t>(2 * kPageSize));
}

TEST_F(MemfdTest, AFileAboveWhatAnIndexCanSayIsEfbig) {
  UniqueFd fd = make_memfd((uint64_t{1} << 32) * kPageSize);
  luo::FileArgs args{.file = open_file(fd)};
  EXPECT_EQ(error_of(system.handler().preserve(args)), EFBIG);
  UniqueFd large = make_memfd(GiB(4096));
  args.file = open_file(large);
  EXPECT_EQ(error_of(system.handler().preserve(args)), ENOMEM);
  EXPECT_EQ(system.machine_regions(), 0u);
}

#if CW_POINTS
TEST_F(MemfdTest, FailedStepsOfPreserveUndoTheOthers) {
  UniqueFd fd = make_memfd(MiB(2) + kPageSize);
  luo::FileArgs warm_up = preserve(system, fd);
  system.handler().unpreserve(warm_up);
  const uint64_t blocks = system.kho().stats().preserved_blocks;
  const uint64_t free = system.free_pages();
  for (const char* step : {"kho.alloc_preserve.alloc", "memfd.preserve.before_adopt", "memfd.preserve.before_blocks",
                           "memfd.preserve.before_array", "kho.preserve.blocks", "kho.vmalloc.chunk"}) {
    must(point::arm(std::string(step) + "=fail"));
    luo::FileArgs args{.file = open_file(fd)};
    EXPECT_EQ(error_of(system.handler().preserve(args)), ENOMEM) << step;
    EXPECT_EQ(args.private_data, nullptr);
    EXPECT_EQ(system.kho().stats().preserved_blocks, blocks) << step;
    EXPECT_EQ(system.free_pages(), free) << step;
    EXPECT_EQ(system.machine_regions(), 0u) << step;
    point::disarm_all();
  }
}
#endif

}  // namespace
}  // namespace causeway::memfd
