#include "dma/record_store.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

constexpr uint64_t kDevice = 0x1234;

abi::AllocRecord record_of(uint64_t phys) {
  abi::AllocRecord record{};
  record.page_phys = phys;
  record.size = KiB(4);
  record.requester = kDevice;
  return record;
}

PhysAddr add(RecordStore& store, uint64_t phys, void* owner = nullptr) {
  return must(store.add(record_of(phys), owner));
}

void remove(RecordStore& store, PhysAddr where) {
  must(store.begin_remove(where, kDevice));
  store.finish_remove(where);
}

TEST(RecordStore, SixtyThreeRecordsShareOnePage) {
  System system;
  RecordStore store(system.kho());
  uint64_t blocks = system.kho().stats().preserved_blocks;
  std::set<PhysAddr> places;
  for (unsigned i = 0; i < abi::kRecordsPerPage; ++i) places.insert(add(store, i * kPageSize));
  EXPECT_EQ(places.size(), 63u);
  EXPECT_EQ(store.outgoing_pages(), 1u);
  EXPECT_EQ(system.kho().stats().preserved_blocks, blocks + 1);
  add(store, 0);
  EXPECT_EQ(store.outgoing_pages(), 2u);
}

TEST(RecordStore, APageIsFreedWithItsLastRecord) {
  System system;
  RecordStore store(system.kho());
  remove(store, add(store, 0));  // the tree has its nodes now
  uint64_t free_before = system.free_pages();
  uint64_t blocks = system.kho().stats().preserved_blocks;
  std::vector<PhysAddr> places;
  for (unsigned i = 0; i < 130; ++i) places.push_back(add(store, i * kPageSize));
  for (PhysAddr where : places) remove(store, where);
  EXPECT_EQ(store.outgoing_pages(), 0u);
  EXPECT_EQ(store.outgoing_records(), 0u);
  EXPECT_EQ(system.kho().stats().preserved_blocks, blocks);
  EXPECT_EQ(system.free_pages(), free_before);
}

TEST(RecordStore, AFreedSlotIsUsedAgain) {
  System system;
  RecordStore store(system.kho());
  std::vector<PhysAddr> places;
  for (unsigned i = 0; i < abi::kRecordsPerPage; ++i) places.push_back(add(store, i * kPageSize));
  remove(store, places[17]);
  EXPECT_EQ(add(store, 0), places[17]);
  EXPECT_EQ(store.outgoing_pages(), 1u);
}

TEST(RecordStore, RemovingGivesRecordAndOwnerBack) {
  System system;
  RecordStore store(system.kho());
  int owner = 0;
  PhysAddr where = add(store, 0x7000, &owner);
  add(store, 0x8000);
  RecordStore::Found found = must(store.begin_remove(where, kDevice));
  EXPECT_EQ(found.record.page_phys, 0x7000u);
  EXPECT_EQ(found.owner, &owner);
}

TEST(RecordStore, WhatIsNotARecordOfThisDeviceCannotBeRemoved) {
  System system;
  RecordStore store(system.kho());
  PhysAddr where = add(store, 0x7000);
  EXPECT_EQ(error_of(store.begin_remove(PhysAddr{0}, kDevice)), EINVAL);
  EXPECT_EQ(error_of(store.begin_remove(where.aligned_down(kPageSize), kDevice)), EINVAL) << "the header";
  EXPECT_EQ(error_of(store.begin_remove(where + 64, kDevice)), EINVAL) << "a free slot";
  EXPECT_EQ(error_of(store.begin_remove(where + 8, kDevice)), EINVAL) << "inside a record";
  EXPECT_EQ(error_of(store.begin_remove(where, kDevice + 1)), EINVAL) << "another device";
  must(store.begin_remove(where, kDevice));
  EXPECT_EQ(error_of(store.begin_remove(where, kDevice)), EINVAL) << "somebody removes it already";
}

TEST(RecordStore, ARecordIsWholeInMemory) {
  System system;
  RecordStore store(system.kho());
  PhysAddr where = add(store, 0x7000);
  abi::AllocRecord record;
  std::memcpy(&record, system.at(where), sizeof(record));
  EXPECT_EQ(record.magic, abi::kAllocMagic);
  EXPECT_EQ(record.version, abi::kAllocVersion);
  EXPECT_NE(record.checksum, 0u);
  auto* header = reinterpret_cast<abi::RecordPageHeader*>(system.at(where.aligned_down(kPageSize)));
  EXPECT_EQ(header->magic, abi::kRecordPageMagic);
}

// The next kernel.

TEST(RecordStoreIncoming, ARecordIsAcceptedOnceAndByItsDevice) {
  System system;
  PhysAddr where = [&] {
    RecordStore store(system.kho());
    return add(store, 0x7000);
  }();
  system.kexec();
  RecordStore store(system.kho());
  EXPECT_EQ(error_of(store.accept(where, kDevice + 1)), EINVAL);
  EXPECT_EQ(must(store.accept(where, kDevice)).page_phys, 0x7000u);
  EXPECT_EQ(error_of(store.accept(where, kDevice)), EINVAL);
}

TEST(RecordStoreIncoming, ThePageIsGivenBackWithItsLastRecord) {
  System system;
  std::vector<PhysAddr> places;
  {
    RecordStore store(system.kho());
    for (unsigned i = 0; i < 3; ++i) places.push_back(add(store, i * kPageSize));
  }
  PhysAddr page = places[0].aligned_down(kPageSize);
  system.kexec();
  RecordStore store(system.kho());
  for (PhysAddr where : places) {
    EXPECT_EQ(system.kho().preserved_order(page), kOrder0);
    must(store.accept(where, kDevice));
    store.consume(where);
  }
  EXPECT_EQ(system.kho().preserved_order(page), std::nullopt);
  EXPECT_EQ(error_of(store.accept(places[0], kDevice)), EINVAL) << "the page is nobody's any more";
}

TEST(RecordStoreIncoming, APageStaysAsLongAsOneRecordIsNotConsumed) {
  System system;
  std::vector<PhysAddr> places;
  {
    RecordStore store(system.kho());
    for (unsigned i = 0; i < 3; ++i) places.push_back(add(store, i * kPageSize));
  }
  system.kexec();
  RecordStore store(system.kho());
  must(store.accept(places[0], kDevice));
  store.consume(places[0]);
  must(store.accept(places[1], kDevice));
  must(store.accept(places[2], kDevice));
  store.consume(places[2]);
  EXPECT_EQ(system.kho().preserved_order(places[0].aligned_down(kPageSize)), kOrder0);
  EXPECT_EQ(error_of(store.accept(places[1], kDevice)), EINVAL);
}

TEST(RecordStoreIncoming, IncomingPagesAreNotWrittenTo) {
  System system;
  PhysAddr where = [&] {
    RecordStore store(system.kho());
    add(store, 0x1000);
    return add(store, 0x7000);
  }();
  system.kexec();
  std::vector<std::byte> before(system.at(where.aligned_down(kPageSize)),
                                system.at(where.aligned_down(kPageSize)) + kPageSize);
  RecordStore store(system.kho());
  must(store.accept(where, kDevice));
  store.consume(where);
  EXPECT_EQ(std::memcmp(before.data(), system.at(where.aligned_down(kPageSize)), kPageSize), 0);
}

TEST(RecordStoreIncoming, EveryDamagedByteIsNoticed) {
  System system;
  PhysAddr where = [&] {
    RecordStore store(system.kho());
    return add(store, 0x7000);
  }();
  system.kexec();
  for (unsigned i = 0; i < sizeof(abi::AllocRecord); ++i) {
    RecordStore store(system.kho());
    system.at(where)[i] ^= std::byte{0x10};
    EXPECT_EQ(error_of(store.accept(where, kDevice)), EINVAL) << "byte " << i;
    system.at(where)[i] ^= std::byte{0x10};
  }
  RecordStore store(system.kho());
  must(store.accept(where, kDevice));
}

TEST(RecordStoreIncoming, ARecordCopiedToAnotherSlotIsNotValidThere) {
  System system;
  PhysAddr where = [&] {
    RecordStore store(system.kho());
    return add(store, 0x7000);
  }();
  system.kexec();
  std::memcpy(system.at(where + 64), system.at(where), sizeof(abi::AllocRecord));
  RecordStore store(system.kho());
  EXPECT_EQ(error_of(store.accept(where + 64, kDevice)), EINVAL);
}

TEST(RecordStoreIncoming, TokensThatPointAnywhereElseAreRefused) {
  System system;
  PhysAddr where = [&] {
    RecordStore store(system.kho());
    return add(store, 0x7000);
  }();
  system.kexec();
  RecordStore store(system.kho());
  for (uint64_t token :
       {uint64_t{0}, uint64_t{64}, where.value() - 64, where.value() + 1, where.value() + 64, MiB(16) + 64,
        GiB(3) + 64, GiB(4) + MiB(20) + 64, uint64_t{1} << 45, ~uint64_t{0}, ~uint64_t{0} - 63})
    EXPECT_EQ(error_of(store.accept(PhysAddr(token), kDevice)), EINVAL) << token;
}

TEST(RecordStoreIncoming, ADamagedHeaderRefusesThePage) {
  System system;
  PhysAddr where = [&] {
    RecordStore store(system.kho());
    return add(store, 0x7000);
  }();
  system.kexec();
  std::byte* header = system.at(where.aligned_down(kPageSize));
  for (unsigned i : {0u, 4u, 6u, 8u, 63u}) {
    RecordStore store(system.kho());
    header[i] ^= std::byte{1};
    EXPECT_EQ(error_of(store.accept(where, kDevice)), EINVAL) << "byte " << i;
    header[i] ^= std::byte{1};
  }
}

}  // namespace
}  // namespace causeway::dma::testing
