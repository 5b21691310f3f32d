#include "iommu/vtd/root_table.h"

#include <utility>
#include <vector>

#include "base/log.h"
#include "base/point.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

namespace {

constexpr unsigned kFunctionsPerBus = 256;

size_t words_per_entry(TableMode mode) {
  return (mode == TableMode::kLegacy ? sizeof(ContextEntry) : sizeof(ScalableContextEntry)) / sizeof(TableWord);
}

unsigned functions_per_table(TableMode mode) {
  return mode == TableMode::kLegacy ? kFunctionsPerBus : kFunctionsPerBus / 2;
}

bool exists(unsigned table, TableMode mode) { return mode == TableMode::kScalable || table % 2 == 0; }

}  // namespace

// Root entries are two words: one for each half of the bus, or, in legacy mode, one and a reserved one. So words are
// numbered as tables are.
TableWord* RootTable::root_word(unsigned table) const { return root_ + table; }

TableWord* RootTable::table_at(unsigned table) const {
  TableWord word = load_word(root_word(table));
  return (word & kPresent) == 0 ? nullptr : memory_.pages().virt(PhysAddr(word & kAddressMask));
}

ContextSlot RootTable::slot_in(TableWord* table, Bdf bdf) const {
  unsigned index = (bdf.value() & 0xff) % functions_per_table(mode_);
  return {memory_, mode_, table + index * words_per_entry(mode_)};
}

Result<std::unique_ptr<RootTable>> RootTable::create(TableMemory& memory, TableMode mode) {
  TableWord* root = CW_TRY(memory.pages().allocate(kOrder0));
  memory.flush(root, kPageSize);
  return std::unique_ptr<RootTable>(new RootTable(memory, mode, root));
}

Result<std::unique_ptr<RootTable>> RootTable::adopt(TableMemory& memory, TableMode mode, PhysAddr root,
                                                    const Bitmap& bitmap) {
  IommuPages& pages = memory.pages();
  TableWord* words = CW_TRY(pages.restore(root, kOrder0));
  std::unique_ptr<RootTable> adopted(new RootTable(memory, mode, words));
  // All of it is looked at before anything more is restored: a restored page cannot be given back.
  std::vector<PhysAddr> tables;
  for (unsigned table = 0; table < kTables; ++table) {
    TableWord word = load_word(adopted->root_word(table));
    if (word == 0) continue;
    if (!exists(table, mode) || (word & kRootReserved) != 0 || (word & kPresent) == 0) {
      log::error("iommu", "root entry {} of the old kernel is {:#x}", table, word);
      return fail(EBADMSG, "a root entry of the old kernel is damaged");
    }
    if (!bitmap.test(table)) {
      log::error("iommu", "the context table at {:#x} of root entry {} was not preserved", word & kAddressMask, table);
      return fail(EBADMSG, "a context table was not preserved");
    }
    tables.emplace_back(word & kAddressMask);
  }
  for (PhysAddr table : tables) CW_TRY(pages.restore(table, kOrder0));
  return adopted;
}

Result<std::unique_ptr<RootTable>> RootTable::copy(TableMemory& memory, TableMode mode, PhysAddr old_root,
                                                   const std::function<void(Bdf, ContextSlot)>& visit) {
  IommuPages& pages = memory.pages();
  if (!is_ram(pages, old_root)) return fail(EBADMSG, "the old root table is not in RAM");
  const TableWord* old = pages.virt(old_root);
  auto copied = CW_TRY(create(memory, mode));
  auto give_up = [&](const Error& error) {
    copied->release();
    return fail(error);
  };
  for (unsigned table = 0; table < kTables; ++table) {
    TableWord word = load_word(old + table);
    if (!exists(table, mode) || (word & kPresent) == 0) continue;
    PhysAddr address(word & kAddressMask);
    if (!is_ram(pages, address))
      return give_up(Error{Errno{EBADMSG}, "an old context table is not in RAM", SourceLocation::current()});
    auto own = pages.allocate(kOrder0);
    if (!own) return give_up(own.error());
    const TableWord* theirs = pages.virt(address);
    for (unsigned i = 0; i < kPageSize / sizeof(TableWord); ++i)
      std::atomic_ref((*own)[i]).store(load_word(theirs + i), std::memory_order_relaxed);
    memory.flush(*own, kPageSize);
    memory.store(copied->root_word(table), pages.phys(*own).value() | kPresent);
  }
  copied->for_each_present([&](Bdf bdf, ContextSlot slot) {
    {
      sync::MutexLock lock(copied->mutex_);
      copied->copied_.set(bdf.value());
    }
    if (visit) visit(bdf, slot);
  });
  return copied;
}

RootTable::~RootTable() = default;

void RootTable::release() {
  for (unsigned table = 0; table < kTables; ++table) {
    if (TableWord* words = table_at(table)) memory_.pages().free(words);
  }
  memory_.pages().free(std::exchange(root_, nullptr));
}

Result<ContextSlot> RootTable::slot(Bdf bdf) {
  unsigned number = table_of(bdf, mode_);
  if (TableWord* table = table_at(number)) return slot_in(table, bdf);
  sync::MutexLock lock(mutex_);
  if (TableWord* table = table_at(number)) return slot_in(table, bdf);
  TableWord* table = CW_TRY(memory_.pages().allocate(kOrder0));
  memory_.flush(table, kPageSize);
  if (record_) {
    if (auto preserved = memory_.pages().preserve(table); !preserved) {
      memory_.pages().free(table);
      return fail(preserved.error());
    }
    // The next kernel refuses a table without its bit; a bit without a table is nothing.
    record_(number);
    CW_POINT("iommu.vtd.root.table_recorded");
  }
  memory_.store(root_word(number), memory_.pages().phys(table).value() | kPresent);
  return slot_in(table, bdf);
}

std::optional<ContextSlot> RootTable::find(Bdf bdf) const {
  TableWord* table = table_at(table_of(bdf, mode_));
  if (table == nullptr) return std::nullopt;
  return slot_in(table, bdf);
}

void RootTable::for_each_table(const std::function<void(unsigned, TableWord*)>& visit) const {
  for (unsigned table = 0; table < kTables; ++table) {
    if (TableWord* words = table_at(table)) visit(table, words);
  }
}

void RootTable::for_each_present(const std::function<void(Bdf, ContextSlot)>& visit) const {
  for_each_table([&](unsigned table, TableWord* words) {
    for (unsigned i = 0; i < functions_per_table(mode_); ++i) {
      Bdf bdf(static_cast<uint16_t>(first_function(table).value() + i));
      ContextSlot slot = slot_in(words, bdf);
      if (slot.present()) visit(bdf, slot);
    }
  });
}

void RootTable::unlink(unsigned table) {
  TableWord* words = table_at(table);
  memory_.store(root_word(table), 0);
  // The next kernel would look for it in vain.
  memory_.pages().unpreserve(words);
}

Status RootTable::relink(unsigned table, TableWord* words) {
  sync::MutexLock lock(mutex_);
  if (record_) CW_TRY(memory_.pages().preserve(words));
  memory_.store(root_word(table), memory_.pages().phys(words).value() | kPresent);
  return {};
}

Status RootTable::preserve(std::function<void(unsigned)> record) {
  sync::MutexLock lock(mutex_);
  IommuPages& pages = memory_.pages();
  std::vector<TableWord*> done;
  auto preserve_one = [&](TableWord* table) -> Status {
    CW_TRY(pages.preserve(table));
    done.push_back(table);
    return {};
  };
  Status status = preserve_one(root_);
  for_each_table([&](unsigned, TableWord* words) {
    if (status) status = preserve_one(words);
  });
  if (!status) {
    for (TableWord* table : done) pages.unpreserve(table);
    return status;
  }
  for_each_table([&](unsigned table, TableWord*) { record(table); });
  record_ = std::move(record);
  return {};
}

void RootTable::unpreserve() {
  sync::MutexLock lock(mutex_);
  record_ = nullptr;
  for_each_table([&](unsigned, TableWord* words) { memory_.pages().unpreserve(words); });
  memory_.pages().unpreserve(root_);
}

bool RootTable::is_copied(Bdf bdf) const {
  sync::MutexLock lock(mutex_);
  return copied_.test(bdf.value());
}

void RootTable::clear_copied(Bdf bdf) {
  sync::MutexLock lock(mutex_);
  copied_.reset(bdf.value());
}

}  // namespace causeway::iommu::vtd
