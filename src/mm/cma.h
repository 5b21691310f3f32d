// The contiguous memory allocator: ranges set aside at boot, or later, from which large contiguous blocks can be had
// at any time. While nobody has them, movable allocations may live there (MigrateType::kCma).
//
//   Cma cma;
//   CmaArea* area = CW_TRY(cma.declare(boot, {.name = "video", .size = MiB(64)}));   // reserved
//   cma.activate(allocator);                                                         // and usable
//   Page* frames = CW_TRY(area->alloc(5000, Order{8}, kGfpKernel));                  // refcount 1 each
//   area->release(frames, 5000);
//
// Early areas are declared while there is boot memory only, and stay for ever; there is a table of them with a limit.
// Dynamic areas come and go at run time.
//
// There is no migration here: a frame of the area that a movable allocation holds is busy, and the next place is
// tried. Nothing is zeroed. One memory node. Thread-safe; allocating and releasing may sleep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "mm/boot_memory.h"
#include "mm/cma_bitmap.h"
#include "mm/gfp.h"
#include "mm/page_allocator.h"
#include "sync/mutex.h"
#include "sync/spin_lock.h"

namespace causeway::mm {

inline constexpr unsigned kCmaMaxRanges = 8;     // CMA_MAX_RANGES
inline constexpr size_t kCmaMaxName = 63;        // CMA_MAX_NAME less its terminator
inline constexpr uint64_t kCmaMinAlignment = kPageblockOrder.bytes();

class CmaArea {
 public:
  CmaArea(const CmaArea&) = delete;
  CmaArea& operator=(const CmaArea&) = delete;

  // `count` contiguous pages, the first at a frame number aligned to `alignment`; each with refcount 1, contents as
  // found. Of `gfp` only kNoWarn counts. ENOMEM: not so many, or not in one piece; EBUSY: every place that was free in the area
  // is in use by somebody's movable memory; EINVAL: no pages, or the area is not active.
  Result<Page*> alloc(uint64_t count, Order alignment, Gfp gfp);
  // False if the pages do not lie wholly inside one range of this area, or do not begin where an allocation could: the
  // caller may try another owner. Pages that somebody else still references are reported, and freed all the same.
  bool release(Page* first, uint64_t count);

  const std::string& name() const { return name_; }
  unsigned order_per_bit() const { return order_per_bit_; }
  uint64_t pages() const;      // 0 when not active
  // As the kernel counts: pages asked for, not bits taken.
  uint64_t available() const;
  uint64_t clear_bits() const;
  std::vector<PfnRange> ranges() const;
  bool active() const { return pages() != 0; }

 private:
  friend class Cma;
  CmaArea(std::string name, unsigned order_per_bit, std::vector<PfnRange> ranges, bool reserve_on_error);

  // Each range lies in one zone, or the area cannot be used: EINVAL.
  Status check_zones() const;
  // The frames have become kCma memory of the allocator.
  void activate(PageAllocator& allocator);
  Result<Page*> alloc_in(size_t range, uint64_t count, Order alignment);
  Result<Page*> take(PfnRange frames);
  CmaBitmap* find(Pfn first, uint64_t count) CW_REQUIRES(lock_);

  const std::string name_;
  const unsigned order_per_bit_;
  const std::vector<PfnRange> declared_;
  const bool reserve_on_error_;
  PageAllocator* allocator_ = nullptr;
  sync::Mutex alloc_mutex_{"mm.cma.alloc"};  // one caller takes frames at a time
  mutable sync::SpinLock lock_{"mm.cma.bitmap"};
  std::vector<CmaBitmap> bitmaps_ CW_GUARDED_BY(lock_);
  uint64_t pages_ CW_GUARDED_BY(lock_) = 0;
  uint64_t available_ CW_GUARDED_BY(lock_) = 0;
};

struct CmaSpec {
  std::string name;           // empty: "cma0", "cma1"...
  uint64_t size = 0;          // bytes; rounded up to the alignment
  PhysAddr base{0};           // with kExactly: there; otherwise not below it
  enum class Place : uint8_t { kAnywhere, kExactly } place = Place::kAnywhere;
  PhysAddr limit{~uint64_t{0}};  // ends at or below
  uint64_t alignment = 0;     // bytes; at least a pageblock
  unsigned order_per_bit = 0;
  bool reserve_on_error = false;  // an area that cannot be activated keeps its memory from everybody
};

class Cma {
 public:
  explicit Cma(unsigned max_early_areas = 20) : max_early_areas_(max_early_areas) {}

  // Reserves memory, preferably above 4 GiB and bottom-up. ENOSPC: the table is full; EINVAL: size 0, an alignment that is no power of
  // two, an exact base that is not aligned or ends beyond the limit, a size that is not whole bits, a name too long or
  // with control characters; EBUSY: the exact place is taken; ENOMEM: no such range.
  Result<CmaArea*> declare(BootMemory& boot, const CmaSpec& spec);
  // The same from up to 8 ranges above 4 GiB, if no single one is large enough; the largest are taken, and used from
  // the lowest address up.
  Result<CmaArea*> declare_multi(BootMemory& boot, const CmaSpec& spec);
  // Memory that is reserved already. EINVAL: it is not, or is not aligned to pageblocks.
  Result<CmaArea*> init_reserved(BootMemory& boot, PhysAddr base, uint64_t size, unsigned order_per_bit,
                                 std::string name);
  // Makes all early areas usable, once the allocator has taken over. One whose ranges cross zones is given up.
  void activate(PageAllocator& allocator);

  // A dynamic area of one range: reserved memory, as init_reserved(). ENOMEM, EINVAL.
  Result<CmaArea*> create(PageAllocator& allocator, PhysAddr base, uint64_t size, unsigned order_per_bit,
                          std::string name);
  // A dynamic area made of free memory that ends at or below `limit`. ENOMEM, EINVAL.
  Result<CmaArea*> create_from_free(PageAllocator& allocator, uint64_t size, PhysAddr limit, unsigned order_per_bit,
                                    std::string name);
  // Ends a dynamic area; its memory becomes ordinary free memory. EBUSY: pages of it are allocated (warned of), or
  // movable memory lives there: nothing has changed; EINVAL: not a dynamic area. Nobody may be using it.
  Status destroy(CmaArea* area);

  void for_each_early_area(const std::function<void(CmaArea&)>& visit);
  void for_each_area(const std::function<void(CmaArea&)>& visit);
  uint64_t total_pages() const;  // of all active areas

 private:
  Result<CmaArea*> add_early(std::string name, unsigned order_per_bit, std::vector<PfnRange> ranges,
                             bool reserve_on_error);
  Result<CmaArea*> add_dynamic(PageAllocator& allocator, std::string name, unsigned order_per_bit, PfnRange range);
  Status check_new(const CmaSpec& spec) const;

  const unsigned max_early_areas_;
  mutable sync::Mutex mutex_{"mm.cma.areas"};
  std::vector<std::unique_ptr<CmaArea>> early_ CW_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<CmaArea>> dynamic_ CW_GUARDED_BY(mutex_);
  // Early areas that could not be activated: whoever declared one may still ask it, and gets EINVAL.
  std::vector<std::unique_ptr<CmaArea>> given_up_ CW_GUARDED_BY(mutex_);
  unsigned named_ CW_GUARDED_BY(mutex_) = 0;
};

}  // namespace causeway::mm
