// The root table of a unit and the context tables that hang off it.
//
//   auto root = CW_TRY(RootTable::create(memory, TableMode::kScalable));
//   ContextSlot slot = CW_TRY(root->slot(device.bdf()));    // its context table is made if there is none
//   CW_TRY(regs.set_root(root->phys(), root->mode()));
//
// A context table covers a bus (legacy), or half of one (scalable): tables are numbered bus * 2 + (devfn >> 7), the
// even ones alone in legacy mode, which is the bit of IommuIntelSer::context_tables_bitmap. It is never freed while the
// unit runs, so a slot stays where it is.
//
// Handed over: preserve(). From then on a table is preserved, and its bit set, before the root points to it; the next
// kernel has adopt(). Thread-safe.
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/types.h"
#include "iommu/vtd/context_table.h"
#include "sync/mutex.h"

namespace causeway::iommu::vtd {

class RootTable {
 public:
  static constexpr unsigned kTables = 512;
  // A bit for each table, as a record keeps it: eight little endian words, perhaps not aligned.
  struct Bitmap {
    uint64_t words[kTables / 64] = {};
    bool test(unsigned table) const { return (words[table / 64] >> table % 64 & 1) != 0; }
    void set(unsigned table) { words[table / 64] |= uint64_t{1} << table % 64; }
  };
  // What it is for in scalable mode; in legacy mode the other half of the bus too.
  static Bdf first_function(unsigned table) { return Bdf(static_cast<uint16_t>(table << 7)); }
  static unsigned table_of(Bdf bdf, TableMode mode) {
    return bdf.bus() * 2 + (mode == TableMode::kScalable ? (bdf.value() & 0xff) >> 7 : 0);
  }

  // Empty. ENOMEM
  static Result<std::unique_ptr<RootTable>> create(TableMemory& memory, TableMode mode);
  // The tables of the old kernel, which the hardware goes on using: restores the root and what it points to. Nothing is
  // written. EBADMSG: reserved bits, or a table that is not in `bitmap`; ENOENT: a page was not preserved.
  static Result<std::unique_ptr<RootTable>> adopt(TableMemory& memory, TableMode mode, PhysAddr root,
                                                  const Bitmap& bitmap);
  // Of a crashed kernel: what it had, copied into tables of our own; every entry is marked as copied. `visit` gets each
  // present one. EBADMSG: what it points to is not RAM. ENOMEM. On failure nothing is left.
  static Result<std::unique_ptr<RootTable>> copy(TableMemory& memory, TableMode mode, PhysAddr old_root,
                                                 const std::function<void(Bdf, ContextSlot)>& visit);
  ~RootTable();  // frees nothing: release()
  // Frees every table. The hardware does not use them any more.
  void release();

  PhysAddr phys() const { return memory_.pages().phys(root_); }
  TableMode mode() const { return mode_; }

  Result<ContextSlot> slot(Bdf bdf);            // ENOMEM, and errors of IommuPages::preserve()
  std::optional<ContextSlot> find(Bdf bdf) const;  // none: there is no table
  // In order of number.
  void for_each_table(const std::function<void(unsigned table, TableWord* words)>& visit) const;
  // Present entries alone.
  void for_each_present(const std::function<void(Bdf, ContextSlot)>& visit) const;
  // The unit finds nothing there any more, and the next kernel need not; the table stays allocated. Flush afterwards. For
  // shutdown, and its undoing: errors of IommuPages::preserve().
  void unlink(unsigned table);
  Status relink(unsigned table, TableWord* words);

  // -- Live update. Preserves the root and every table. `record`: called with the number of each table there is, and
  // later with that of each new one, under a lock, after it was preserved and before the root points to it. All or
  // nothing.
  Status preserve(std::function<void(unsigned table)> record);
  void unpreserve();

  // -- Entries copied from a crashed kernel, until their device is first attached.
  bool is_copied(Bdf bdf) const;
  void clear_copied(Bdf bdf);

 private:
  RootTable(TableMemory& memory, TableMode mode, TableWord* root) : memory_(memory), mode_(mode), root_(root) {}
  TableWord* root_word(unsigned table) const;
  TableWord* table_at(unsigned table) const;  // null: none
  ContextSlot slot_in(TableWord* table, Bdf bdf) const;

  TableMemory& memory_;
  const TableMode mode_;
  TableWord* root_;
  mutable sync::Mutex mutex_{"iommu.vtd.root_table"};  // making and preserving tables
  std::function<void(unsigned)> record_ CW_GUARDED_BY(mutex_);  // set while preserved
  std::bitset<65536> copied_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::iommu::vtd
