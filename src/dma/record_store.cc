#include "dma/record_store.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/point.h"

namespace causeway::dma {

RecordStore::~RecordStore() {
  while (with_space_.pop_front() != nullptr) {
  }
}

uint64_t RecordStore::checksum(const abi::AllocRecord& record, PhysAddr where) {
  return XXH64(&record, offsetof(abi::AllocRecord, checksum), where.value());
}

Result<RecordStore::OutgoingPage*> RecordStore::add_page() {
  CW_FAIL_POINT("dma.record.alloc_page");
  void* memory = CW_TRY(kho_->alloc_preserve(kPageSize));
  auto* header = static_cast<abi::RecordPageHeader*>(memory);
  header->version = abi::kAllocVersion;
  std::atomic_ref(header->magic).store(abi::kRecordPageMagic, std::memory_order_release);

  auto page = std::make_unique<OutgoingPage>();
  page->records = static_cast<abi::AllocRecord*>(memory);
  page->phys = kho_->map().direct_map().to_phys(memory);
  OutgoingPage* added = page.get();
  outgoing_.emplace(added->phys, std::move(page));
  with_space_.push_back(*added);
  return added;
}

Result<PhysAddr> RecordStore::add(abi::AllocRecord record, void* owner) {
  OutgoingPage* page = with_space_.empty() ? CW_TRY(add_page()) : &with_space_.front();
  unsigned slot = static_cast<unsigned>(std::countr_one(page->used));
  page->used |= uint64_t{1} << slot;
  if (page->used == ~uint64_t{0}) page->unlink();
  page->owner[slot] = owner;
  ++outgoing_records_;

  PhysAddr where = page->phys + slot * sizeof(abi::AllocRecord);
  record.magic = abi::kAllocMagic;
  record.version = abi::kAllocVersion;
  record.checksum = checksum(record, where);
  // The magic last: a kernel that dies in between leaves a free record.
  abi::AllocRecord& target = page->records[slot];
  record.magic = 0;
  target = record;
  std::atomic_ref(target.magic).store(abi::kAllocMagic, std::memory_order_release);
  return where;
}

Result<RecordStore::Found> RecordStore::begin_remove(PhysAddr where, uint64_t requester) {
  auto found = outgoing_.find(page_of(where));
  if (found == outgoing_.end() || !where.is_aligned(sizeof(abi::AllocRecord)))
    return fail(EINVAL, "the token is not one of this kernel's");
  OutgoingPage& page = *found->second;
  unsigned slot = slot_of(where);
  uint64_t bit = uint64_t{1} << slot;
  if (slot == 0 || (page.used & bit) == 0 || (page.removing & bit) != 0)
    return fail(EINVAL, "the token is spent, or never was one");
  if (page.records[slot].requester != requester) return fail(EINVAL, "the token belongs to another device");
  page.removing |= bit;
  return Found{page.records[slot], page.owner[slot]};
}

void RecordStore::finish_remove(PhysAddr where) {
  auto found = outgoing_.find(page_of(where));
  OutgoingPage& page = *found->second;
  unsigned slot = slot_of(where);
  uint64_t bit = uint64_t{1} << slot;

  abi::AllocRecord& record = page.records[slot];
  std::atomic_ref(record.magic).store(0, std::memory_order_release);
  record = {};
  if (page.used == ~uint64_t{0}) with_space_.push_back(page);
  page.used &= ~bit;
  page.removing &= ~bit;
  page.owner[slot] = nullptr;
  --outgoing_records_;
  if (page.used != 1) return;
  page.unlink();
  kho_->unpreserve_free(page.records);
  outgoing_.erase(found);
}

Result<RecordStore::IncomingPage*> RecordStore::adopt_page(PhysAddr where) {
  mm::MemMap& map = kho_->map();
  if (Pfn::containing(where).value() >= map.end_pfn()) return fail(EINVAL, "the token lies outside RAM");
  if (kho_->preserved_order(where) != kOrder0) return fail(EINVAL, "the token's page was not handed over");
  const auto* records = map.direct_map().to_virt<const abi::AllocRecord>(where);
  const auto* header = reinterpret_cast<const abi::RecordPageHeader*>(records);
  if (header->magic != abi::kRecordPageMagic) return fail(EINVAL, "the token's page holds no records");
  if (header->version != abi::kAllocVersion) return fail(EINVAL, "records of an unknown version");
  if (header->reserved != 0 ||
      std::any_of(std::begin(header->zero), std::end(header->zero), [](uint64_t word) { return word != 0; }))
    return fail(EINVAL, "the header of the record page is damaged");

  IncomingPage page{records};
  // A damaged record counts as one too: its page must stay.
  for (unsigned slot = 1; slot < kSlots; ++slot) page.left += records[slot].magic != 0;
  return &incoming_.emplace(where, page).first->second;
}

Result<abi::AllocRecord> RecordStore::accept(PhysAddr where, uint64_t requester) {
  unsigned slot = slot_of(where);
  if (!where.is_aligned(sizeof(abi::AllocRecord)) || slot == 0)
    return fail(EINVAL, "the token is not the address of a record");
  auto known = incoming_.find(page_of(where));
  IncomingPage* page = known != incoming_.end() ? &known->second : CW_TRY(adopt_page(page_of(where)));
  uint64_t bit = uint64_t{1} << slot;
  if ((page->accepted & bit) != 0) return fail(EINVAL, "the token has been used");

  const abi::AllocRecord& record = page->records[slot];
  if (record.magic == 0) return fail(EINVAL, "the token's record is free");
  if (record.magic != abi::kAllocMagic) return fail(EINVAL, "the token's record is damaged: magic");
  if (record.version != abi::kAllocVersion) return fail(EINVAL, "a record of an unknown version");
  if (record.checksum != checksum(record, where))
    return fail(EINVAL, "the token's record is damaged: checksum");
  if (record.requester != requester) return fail(EINVAL, "the token belongs to another device");
  page->accepted |= bit;
  return record;
}

void RecordStore::consume(PhysAddr where) {
  auto found = incoming_.find(page_of(where));
  if (--found->second.left > 0) return;
  void* memory = const_cast<abi::AllocRecord*>(found->second.records);
  incoming_.erase(found);
  kho_->restore_free(memory);
}

}  // namespace causeway::dma
