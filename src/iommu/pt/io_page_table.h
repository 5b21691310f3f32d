// A page table that an IOMMU walks, whatever its format (struct pt_iommu).
//
//   auto table = CW_TRY(make_vtdss({.pages = pages, .max_vasz_lg2 = 48, .features = kFlushRange}));
//   uint64_t mapped = 0;
//   CW_TRY(table->map(Iova{0x10000}, phys, GiB(1), kRead | kWrite, &mapped));
//   Gather gather;
//   table->unmap(Iova{0x10000}, GiB(1), gather);          // then flush, then pages.free(gather.freed)
//   hardware.set_root(table->root());
//
// Formats and their factories: vtdss.h, x86_64.h, amdv1.h. The algorithms are one template, page_table.h, compiled for
// each format. Level 0 is the one of 4 KiB leaves.
//
// Thread-safe as the kernel's: disjoint ranges may be mapped and unmapped at the same time without a lock; who changes a
// range owns it. The top word changes atomically, so readers always see a table and the level that belongs to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/types.h"
#include "iommu/domain.h"
#include "iommu/iommu_pages.h"

namespace causeway::iommu {

enum Feature : uint32_t {
  kDmaIncoherent = 1u << 0,
  kFullVa = 1u << 1,
  kDynamicTop = 1u << 2,
  kSignExtend = 1u << 3,
  kFlushRange = 1u << 4,
  kFlushRangeNoGaps = 1u << 5,
  kDetailedGather = 1u << 6,
  // Of formats.
  kAmdEncryptTables = 1u << 16,
  kForceCoherence = 1u << 17,  // AMDv1, VT-d second stage
  kForceWriteable = 1u << 18,  // VT-d second stage
};

class IoPageTable {
 public:
  struct Info {
    uint64_t page_sizes = 0;  // a bit for each size that can be mapped
    Aperture aperture;
  };
  // What hardware is told.
  struct Root {
    PhysAddr top;
    unsigned level = 0;  // of the top table
  };
  // What the next kernel needs to know (iommu_domain_ser).
  struct Preserved {
    PhysAddr top;
    unsigned level = 0;
    unsigned vasz_lg2 = 0;
    bool sign_extend = false;
  };
  // What the owner of an incoherent or growing table does for it; all may be null.
  struct Hooks {
    // [from, from + bytes) was written and the hardware does not snoop.
    std::function<void(const void* from, uint64_t bytes)> flush_cache;
    // kDynamicTop: the hardware is to use this top, which translates as the old one did, before anybody maps above.
    std::function<void(Root)> change_top;
    // What was gathered is flushed now; `freed` may be freed, or left to the caller. From unmap(), with kFlushRangeNoGaps,
    // when what comes does not touch it; and from map(), before it frees an empty table that a large page replaces.
    std::function<void(Gather&)> sync;
  };

  virtual ~IoPageTable() = default;
  virtual const char* format() const = 0;  // "vtdss", "x86_64", "amdv1", "amdv1_mock"
  virtual Info info() const = 0;
  virtual Root root() const = 0;
  virtual uint32_t features() const = 0;

  // Errors: EINVAL no access; ERANGE the physical end, or the addresses, are beyond; EOVERFLOW they wrap; ENXIO nothing
  // fits the alignment; EADDRINUSE a leaf is there already; ENOMEM. What was mapped before an error stays: `mapped`.
  virtual Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot, uint64_t* mapped) = 0;
  // Bytes unmapped, from `iova` on: to the first hole; more than `size` if the last leaf ends beyond; 0 if `iova` is inside
  // a leaf, or nothing is there.
  virtual uint64_t unmap(Iova iova, uint64_t size, Gather& gather) = 0;
  virtual std::optional<PhysAddr> iova_to_phys(Iova iova) const = 0;
  // Bytes that `iova` and what follows it are mapped to in one leaf; for walks over what is mapped. 0: nothing there.
  struct Leaf {
    Iova iova;
    PhysAddr phys;
    uint64_t size = 0;
    uint32_t prot = 0;
  };
  // In order of address; until `visit` returns false. Not while others map.
  virtual void for_each_leaf(const std::function<bool(const Leaf&)>& visit) const = 0;

  // EOPNOTSUPP: no dirty bits. `bitmap` may be null. EINVAL: a hole.
  virtual Status read_and_clear_dirty(Iova iova, uint64_t size, DirtyClear clear, DirtyBitmap* bitmap,
                                      Gather& gather) = 0;
  virtual Status set_dirty(Iova iova) = 0;  // tests: as the hardware would. EFAULT: no writable leaf there

  // -- Live update. Nobody maps or unmaps during preserve(), unpreserve() and restore(). After preserve() the table may go on
  // changing: a new table is preserved before it can be found, and a freed one given up after it is freed.
  // All or nothing; errors of IommuPages.
  virtual Result<Preserved> preserve() = 0;
  virtual void unpreserve() = 0;
  // Into a fresh, empty table: takes over the old kernel's tables as they are. Nothing is changed that the hardware can
  // see; on failure nothing is restored that could be, and what was stays allocated. EINVAL: another geometry; ENOENT: a
  // table was not preserved; EBADMSG: an entry points to no table.
  virtual Status restore(const Preserved& preserved) = 0;
  // A restored table does not change its shape until this is called (the handover that has it as it is is still the valid
  // one): map() is EBUSY if it would need a new table, and no table is freed.
  virtual void allow_growth() = 0;
};

struct PageTableOptions {
  IommuPages& pages;
  unsigned max_vasz_lg2 = 48;  // hardware's bits of address
  unsigned max_oasz_lg2 = 52;  // and of physical address
  uint32_t features = 0;
  // Leaf sizes the hardware does not have are taken out: a bit for each that may be used.
  uint64_t page_sizes = ~uint64_t{0};
  unsigned starting_level = 0;  // AMDv1: of the first top, 1..5
  IoPageTable::Hooks hooks = {};
};

// Errors: EOPNOTSUPP a feature, or a number of levels, that the format does not have; EINVAL features that exclude each
// other; EOVERFLOW; ENOMEM.
Result<std::unique_ptr<IoPageTable>> make_vtdss(const PageTableOptions& options);
Result<std::unique_ptr<IoPageTable>> make_x86_64(const PageTableOptions& options);
Result<std::unique_ptr<IoPageTable>> make_amdv1(const PageTableOptions& options);
Result<std::unique_ptr<IoPageTable>> make_amdv1_mock(const PageTableOptions& options);

}  // namespace causeway::iommu
