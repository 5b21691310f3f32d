// The PASID table of a device, in scalable mode: a directory of tables of 64 entries, each an address space.
//
//   auto table = CW_TRY(PasidTable::create(memory, device_pasids, caps));
//   CW_TRY(table->set(kNoPasid, pass_through_entry(kSharedDomainId, caps)));              // EBUSY: there is one
//   ...
//   table->retire(pasid);         // not present: then flush the PASID cache, IOTLB and device-TLB
//   table->wipe(pasid);           // and only then the rest
//
// It always spans at least 32768 PASIDs, devices without any included. Tables are never freed while the device is
// there. One entry is changed by one thread at a time; different ones by any number.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "base/types.h"
#include "hw/vtd.h"
#include "iommu/domain.h"
#include "iommu/vtd/context_table.h"
#include "iommu/vtd/pasid_entry.h"
#include "iommu/vtd/table_memory.h"
#include "sync/mutex.h"

namespace causeway::iommu::vtd {

class PasidTable {
 public:
  // `device_pasids`: of its capability, 0: none. ENOMEM
  static Result<std::unique_ptr<PasidTable>> create(TableMemory& memory, uint32_t device_pasids,
                                                    const Capabilities& caps);
  // What max_pasid() of such a table would be: the old kernel's must be the same.
  static uint32_t max_pasid_for(uint32_t device_pasids, const Capabilities& caps);
  // The old kernel's table, which the hardware goes on using: restores the directory and all tables. Nothing is
  // written. EINVAL: `max_pasid` is no table's; EBADMSG: reserved bits; ENOENT: a page was not preserved.
  static Result<std::unique_ptr<PasidTable>> adopt(TableMemory& memory, PhysAddr directory, uint64_t max_pasid);
  // What a crashed kernel's context leads to: every present entry that hardware could read. Nothing is restored or kept.
  static void visit_crashed(IommuPages& pages, const ScalableContext& context,
                            const std::function<void(const PasidContext&)>& visit);
  ~PasidTable();  // frees nothing: release()
  // Frees every table. No context entry points to the directory any more, nor does a cache.
  void release();

  PhysAddr directory() const { return memory_.pages().phys(directory_); }
  uint32_t max_pasid() const;       // 1 << (order + 12 + 3)
  unsigned directory_size() const;  // for the context entry: 2^(value + 7) entries

  PasidContext get(Pasid pasid) const;  // not present: none
  bool present(Pasid pasid) const { return get(pasid).present; }
  // EBUSY: there is one; EINVAL: beyond max_pasid(); ENOMEM, and errors of IommuPages::preserve().
  Status set(Pasid pasid, const PasidContext& context);
  void retire(Pasid pasid);
  void wipe(Pasid pasid);
  // Of a live entry: one word. Flush the PASID cache, the domain and the device-TLB afterwards.
  void set_dirty_tracking(Pasid pasid, bool on);
  void set_page_snoop(Pasid pasid);
  // Present ones, in order.
  void for_each_present(const std::function<void(Pasid, const PasidContext&)>& visit) const;

  // -- Live update: the directory and every table; from then on a new table is preserved before the directory points to
  // it. All or nothing. Not while another thread sets an entry for which there is no table.
  Status preserve();
  void unpreserve();

 private:
  PasidTable(TableMemory& memory, TableWord* directory, Order order)
      : memory_(memory), directory_(directory), order_(order) {}
  TableWord* find(Pasid pasid) const;  // null: there is no table
  Result<TableWord*> entry(Pasid pasid);
  TableWord* table_at(uint32_t index) const;
  uint32_t tables() const { return max_pasid() / hw::vtd::kPasidTableEntries; }

  TableMemory& memory_;
  TableWord* directory_;
  const Order order_;
  mutable sync::Mutex mutex_{"iommu.vtd.pasid_table"};  // preserve() and unpreserve()
  std::atomic<bool> preserved_{false};
};

}  // namespace causeway::iommu::vtd
