#include "iommu/vtd/pasid_table.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/point.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

namespace {

constexpr unsigned kLeastLog2 = 15;     // a page of directory
constexpr unsigned kGreatestLog2 = 20;  // of a PASID
constexpr unsigned kWordsPerEntry = sizeof(PasidEntry) / sizeof(TableWord);

Order directory_order(uint32_t device_pasids, const Capabilities& caps) {
  uint64_t pasids = std::min<uint64_t>(device_pasids, uint64_t{1} << caps.pasid_bits());
  // Eight bytes for 64 of them.
  uint64_t bytes = pasids >> 3;
  return bytes == 0 ? kOrder0 : Order::covering(bytes);
}

}  // namespace

uint32_t PasidTable::max_pasid_for(uint32_t device_pasids, const Capabilities& caps) {
  return uint32_t{1} << (directory_order(device_pasids, caps).value() + kLeastLog2);
}

uint32_t PasidTable::max_pasid() const { return uint32_t{1} << (order_.value() + kLeastLog2); }

unsigned PasidTable::directory_size() const {
  return static_cast<unsigned>(std::countr_zero(tables())) - 7;
}

Result<std::unique_ptr<PasidTable>> PasidTable::create(TableMemory& memory, uint32_t device_pasids,
                                                       const Capabilities& caps) {
  Order order = directory_order(device_pasids, caps);
  TableWord* directory = CW_TRY(memory.pages().allocate(order));
  memory.flush(directory, order.bytes());
  return std::unique_ptr<PasidTable>(new PasidTable(memory, directory, order));
}

Result<std::unique_ptr<PasidTable>> PasidTable::adopt(TableMemory& memory, PhysAddr directory, uint64_t max_pasid) {
  if (!is_power_of_two(max_pasid) || max_pasid < uint64_t{1} << kLeastLog2 || max_pasid > uint64_t{1} << kGreatestLog2)
    return fail(EINVAL, "no pasid table has so many entries");
  Order order(static_cast<unsigned>(std::countr_zero(max_pasid)) - kLeastLog2);
  IommuPages& pages = memory.pages();
  TableWord* words = CW_TRY(pages.restore(directory, order));
  std::unique_ptr<PasidTable> adopted(new PasidTable(memory, words, order));
  // All of it is looked at before anything more is restored: a restored page cannot be given back.
  std::vector<PhysAddr> tables;
  for (uint32_t i = 0; i < adopted->tables(); ++i) {
    TableWord word = load_word(words + i);
    if (word == 0) continue;
    if ((word & kPasidDirectoryReserved) != 0 || (word & kPresent) == 0) {
      log::error("iommu", "entry {} of the old pasid directory at {} is {:#x}", i, directory, word);
      return fail(EBADMSG, "the pasid directory of the old kernel is damaged");
    }
    tables.emplace_back(word & kAddressMask);
  }
  for (PhysAddr table : tables) CW_TRY(pages.restore(table, kOrder0));
  return adopted;
}

void PasidTable::visit_crashed(IommuPages& pages, const ScalableContext& context,
                               const std::function<void(const PasidContext&)>& visit) {
  const uint64_t entries = uint64_t{1} << (context.directory_size + 7);
  for (uint64_t i = 0; i < entries; ++i) {
    const PhysAddr where = context.directory + i * sizeof(TableWord);
    if (!is_ram(pages, where)) return;
    const TableWord word = load_word(pages.virt(where));
    const PhysAddr address(word & kAddressMask);
    if ((word & kPresent) == 0 || !is_ram(pages, address)) continue;
    TableWord* table = pages.virt(address);
    for (uint32_t pasid = 0; pasid < kPasidTableEntries; ++pasid) {
      const PasidContext entry = decode(TableMemory::read<PasidEntry>(table + size_t{pasid} * kWordsPerEntry));
      if (entry.present) visit(entry);
    }
  }
}

PasidTable::~PasidTable() = default;

void PasidTable::release() {
  for (uint32_t i = 0; i < tables(); ++i) {
    if (TableWord* table = table_at(i)) memory_.pages().free(table);
  }
  memory_.pages().free(std::exchange(directory_, nullptr));
}

TableWord* PasidTable::table_at(uint32_t index) const {
  TableWord word = load_word(directory_ + index);
  return (word & kPresent) == 0 ? nullptr : memory_.pages().virt(PhysAddr(word & kAddressMask));
}

TableWord* PasidTable::find(Pasid pasid) const {
  if (pasid >= max_pasid()) return nullptr;
  TableWord* table = table_at(pasid / kPasidTableEntries);
  return table == nullptr ? nullptr : table + size_t{pasid % kPasidTableEntries} * kWordsPerEntry;
}

Result<TableWord*> PasidTable::entry(Pasid pasid) {
  if (pasid >= max_pasid()) return fail(EINVAL, "the pasid is beyond the device's table");
  if (TableWord* words = find(pasid)) return words;
  IommuPages& pages = memory_.pages();
  TableWord* table = CW_TRY(pages.allocate(kOrder0));
  memory_.flush(table, kPageSize);
  if (preserved_.load(std::memory_order_acquire)) {
    if (auto preserved = pages.preserve(table); !preserved) {
      pages.free(table);
      return fail(preserved.error());
    }
    CW_POINT("iommu.vtd.pasid.table_preserved");
  }
  // Another thread may be setting a neighbour: one of the two tables is used by both.
  TableWord none = 0;
  TableWord* where = directory_ + pasid / kPasidTableEntries;
  if (std::atomic_ref(*where).compare_exchange_strong(none, pages.phys(table).value() | kPresent,
                                                      std::memory_order_acq_rel)) {
    memory_.flush(where, sizeof *where);
  } else {
    pages.free(table);
  }
  return find(pasid);
}

PasidContext PasidTable::get(Pasid pasid) const {
  TableWord* words = find(pasid);
  return words == nullptr ? PasidContext{.present = false} : decode(TableMemory::read<PasidEntry>(words));
}

Status PasidTable::set(Pasid pasid, const PasidContext& context) {
  TableWord* words = CW_TRY(entry(pasid));
  if ((load_word(words) & kPresent) != 0) return fail(EBUSY, "the pasid has an address space already");
  memory_.publish(words, encode(context));
  return {};
}

void PasidTable::retire(Pasid pasid) {
  if (TableWord* words = find(pasid)) memory_.retire(words);
}

void PasidTable::wipe(Pasid pasid) {
  if (TableWord* words = find(pasid)) memory_.wipe<PasidEntry>(words);
}

void PasidTable::set_dirty_tracking(Pasid pasid, bool on) {
  TableWord* words = find(pasid);
  assert(words != nullptr);
  memory_.store(words, PasidSecondStageDirty::set(load_word(words), on ? 1 : 0));
}

void PasidTable::set_page_snoop(Pasid pasid) {
  TableWord* words = find(pasid);
  assert(words != nullptr);
  memory_.store(words + 1, PasidPageSnoop::set(load_word(words + 1), 1));
}

void PasidTable::for_each_present(const std::function<void(Pasid, const PasidContext&)>& visit) const {
  for (uint32_t i = 0; i < tables(); ++i) {
    if (table_at(i) == nullptr) continue;
    for (Pasid pasid = i * kPasidTableEntries; pasid < (i + 1) * kPasidTableEntries; ++pasid) {
      if (PasidContext context = get(pasid); context.present) visit(pasid, context);
    }
  }
}

Status PasidTable::preserve() {
  sync::MutexLock lock(mutex_);
  IommuPages& pages = memory_.pages();
  std::vector<TableWord*> done;
  auto preserve_all = [&]() -> Status {
    CW_TRY(pages.preserve(directory_));
    done.push_back(directory_);
    for (uint32_t i = 0; i < tables(); ++i) {
      TableWord* table = table_at(i);
      if (table == nullptr) continue;
      CW_TRY(pages.preserve(table));
      done.push_back(table);
    }
    return {};
  };
  preserved_.store(true, std::memory_order_release);
  if (auto status = preserve_all(); !status) {
    preserved_.store(false, std::memory_order_release);
    for (TableWord* table : done) pages.unpreserve(table);
    return status;
  }
  return {};
}

void PasidTable::unpreserve() {
  sync::MutexLock lock(mutex_);
  preserved_.store(false, std::memory_order_release);
  for (uint32_t i = 0; i < tables(); ++i) {
    if (TableWord* table = table_at(i)) memory_.pages().unpreserve(table);
  }
  memory_.pages().unpreserve(directory_);
}

}  // namespace causeway::iommu::vtd
