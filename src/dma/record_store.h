// The records of preserved allocations (abi/alloc_v1.h), packed 63 to a page, on both sides of a live update.
//
//   PhysAddr where = CW_TRY(store.add(record, cpu));     // old kernel: the token
//   auto [copy, cpu] = CW_TRY(store.begin_remove(where, device.requester()));
//   store.finish_remove(where);
//
//   AllocRecord record = CW_TRY(store.accept(where, device.requester()));  // new kernel
//   store.consume(where);                                // not if its memory is leaked
//
// Outgoing pages are preserved as long as one record in them is in use, and freed with the last.
//
// Incoming pages are never written to: until this kernel has published a handover of its own, a successor
// may have to read them again. What was taken is remembered here instead, and a page whose records have all
// been consumed is given back to KHO. One with a record that nobody claimed, or that was accepted and never
// consumed, stays.
//
// Not thread-safe: the owner's lock covers it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/intrusive_list.h"
#include "base/result.h"
#include "base/types.h"
#include "dma/abi/alloc_v1.h"
#include "kho/kho.h"

namespace causeway::dma {

class RecordStore {
 public:
  explicit RecordStore(kho::Kho& kho) : kho_(&kho) {}
  ~RecordStore();  // forgets: the pages live on

  // -- Outgoing.
  // Stores `record`, whose magic, version and checksum are filled in here; `owner` comes back from
  // begin_remove(). The record's physical address. ENOMEM.
  Result<PhysAddr> add(abi::AllocRecord record, void* owner);
  struct Found {
    abi::AllocRecord record;
    void* owner;
  };
  // Finds the record and makes sure that nobody else will. EINVAL: no such record, or of another device.
  Result<Found> begin_remove(PhysAddr where, uint64_t requester);
  void finish_remove(PhysAddr where);

  // -- Incoming.
  // A whole and valid record of this device, once: a second accept() of it is EINVAL, as is everything that
  // is not such a record. The reason is in the error.
  Result<abi::AllocRecord> accept(PhysAddr where, uint64_t requester);
  // An accepted record is done with.
  void consume(PhysAddr where);

  uint64_t outgoing_records() const { return outgoing_records_; }
  uint64_t outgoing_pages() const { return outgoing_.size(); }

 private:
  static constexpr unsigned kSlots = abi::kRecordsPerPage + 1;
  static_assert(kSlots == 64, "a page's slots fit a 64-bit mask");

  struct OutgoingPage : ListNode<> {  // linked while it has a free slot
    abi::AllocRecord* records;        // slot 0 is the header
    PhysAddr phys;
    uint64_t used = 1;  // bit per slot
    uint64_t removing = 0;
    std::array<void*, kSlots> owner{};
  };
  struct IncomingPage {
    const abi::AllocRecord* records;
    uint64_t accepted = 0;  // bit per slot
    unsigned left = 0;      // records not consumed yet
  };

  static PhysAddr page_of(PhysAddr where) { return where.aligned_down(kPageSize); }
  static unsigned slot_of(PhysAddr where) {
    return static_cast<unsigned>(where.page_offset() / sizeof(abi::AllocRecord));
  }
  static uint64_t checksum(const abi::AllocRecord& record, PhysAddr where);
  Result<OutgoingPage*> add_page();
  Result<IncomingPage*> adopt_page(PhysAddr page);

  kho::Kho* kho_;
  std::unordered_map<PhysAddr, std::unique_ptr<OutgoingPage>> outgoing_;
  IntrusiveList<OutgoingPage> with_space_;
  uint64_t outgoing_records_ = 0;
  std::unordered_map<PhysAddr, IncomingPage> incoming_;
};

}  // namespace causeway::dma
