// A VT-d remapping unit: its registers, tables and domain ids, from boot to shutdown.
//
//   auto unit = CW_TRY(VtdUnit::create(driver, environment, dmar_unit, 0));
//   CW_TRY(unit->prepare());        // of every unit first: fresh tables, the old kernel's, or a copy of a crashed one's
//   CW_TRY(unit->start());          // then: translation is on
//
// One that cannot be taken over from the old kernel is left exactly as it is, translating, and is not usable: its devices go
// on, and nobody gets them.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "iommu/driver.h"
#include "iommu/vtd/dmar.h"
#include "iommu/vtd/domain_ids.h"
#include "iommu/vtd/environment.h"
#include "iommu/vtd/fault_log.h"
#include "iommu/vtd/flush.h"
#include "iommu/vtd/page_request_queue.h"
#include "iommu/vtd/registers.h"
#include "iommu/vtd/root_table.h"
#include "iommu/vtd/table_memory.h"
#include "sync/guarded.h"

namespace causeway::iommu::vtd {

class VtdUnit final : public Unit {
 public:
  // Errors of UnitRegisters::create(). `index`: of the unit, for sorting.
  static Result<std::unique_ptr<VtdUnit>> create(Driver& driver, Environment& environment, const DmarUnit& found,
                                                 unsigned index);

  // What the tables are. `old_state_unreadable`: there was a handover and it cannot be read, so a unit that translates may be
  // translating for somebody. An error leaves the unit as it is, not usable.
  Status prepare(bool old_state_unreadable);
  Status start();

  bool is_usable() const { return usable_; }
  bool is_adopted() const { return adopted_; }
  unsigned index() const { return index_; }
  PhysAddr register_base() const { return found_.register_base; }
  const DmarUnit& scope() const { return found_; }
  Environment& environment() const { return environment_; }
  UnitRegisters& regs() { return *regs_; }
  const Capabilities& caps() const { return regs_->caps(); }
  TableMode mode() const { return mode_; }
  bool scalable() const { return mode_ == TableMode::kScalable; }
  // Of a usable unit.
  RootTable& root() { return *root_; }
  DomainIds& ids() { return *ids_; }
  Flush& flush() { return *flush_; }
  Invalidator& invalidator() { return *invalidator_; }
  TableMemory& memory() { return *memory_; }
  FaultLog* faults() { return faults_.get(); }
  PageRequestQueue* page_requests() { return page_requests_.get(); }  // null: the unit takes none

  // An entry that was not present is now, or one that was cached is not any more (spec 2.5).
  Status flush_new_context(Bdf source, DomainId domain);
  Status flush_old_context(Bdf source, DomainId domain);
  Status flush_new_pasid(DomainId domain, Pasid pasid);

  // -- Live update.
  Status preserve(abi::IommuHwSer& ser) override;
  void unpreserve(abi::IommuHwSer& ser) override;
  // The tables there are now, into the record that preserve() was given. Under the live update's lock.
  void update_record();
  // The kernel ends. Without `keep`, translation goes off; else it stays on for these devices alone, and everything else in the
  // tables is cleared.
  Status shut_down(const std::optional<std::set<Bdf>>& keep);
  // The kernel goes on after all: what shut_down() has cut off is translated as before.
  Status undo_shut_down();

 private:
  VtdUnit(Driver& driver, Environment& environment, const DmarUnit& found, unsigned index,
          std::unique_ptr<UnitRegisters> regs);
  Status make_fresh();
  Status adopt(const abi::IommuHwSer& ser);
  Status check_record(const abi::IommuHwSer& ser, const UnitRegisters::Root& root, const std::set<Bdf>& preserved) const;
  void drop_unrecorded_tables(PhysAddr root, const RootTable::Bitmap& tables);
  struct CutOff {
    Bdf bdf;
    LegacyContext legacy;      // of the mode the unit is in
    ScalableContext scalable;
  };
  struct Scrub {
    std::vector<CutOff> cut_off;
    std::vector<Bdf> silenced;  // are translated, and may not ask for pages any more
  };
  // kUnknown: the set has no aliases in it, so what looks like one of a kept device's stays.
  enum class Aliases : uint8_t { kListed, kUnknown };
  Scrub keep_alone(const std::set<Bdf>& keep, Aliases aliases);
  Status copy_crashed();

  Environment& environment_;
  const DmarUnit found_;
  const unsigned index_;
  bool usable_ = false;
  bool adopted_ = false;
  TableMode mode_ = TableMode::kLegacy;
  const std::unique_ptr<UnitRegisters> regs_;
  std::unique_ptr<TableMemory> memory_;
  std::unique_ptr<DomainIds> ids_;
  std::unique_ptr<RootTable> root_;
  std::unique_ptr<Invalidator> invalidator_;
  std::unique_ptr<Flush> flush_;
  std::unique_ptr<FaultLog> faults_;
  std::unique_ptr<PageRequestQueue> page_requests_;
  PhysAddr old_page_requests_{0};  // the ring of the kernel before
  // Between shut_down() and its undoing.
  struct ShutDown {
    bool translation_off = false;
    std::vector<std::pair<unsigned, TableWord*>> unlinked;
    Scrub scrub;
  };
  ShutDown shut_down_;
  abi::IommuHwSer* record_ = nullptr;  // while preserved; of the live update's lock
  // Tables that have been preserved.
  sync::Guarded<RootTable::Bitmap> preserved_tables_{sync::LockName{"iommu.vtd.preserved_tables"}};
};

}  // namespace causeway::iommu::vtd
