// Who has which bus addresses: the IOVA allocator (drivers/iommu/iova.c). Counted in granules, from the top down.
//
//   IovaDomain iovas({.granule = KiB(4), .start = 1});
//   CW_TRY(iovas.reserve(0xfee00, 0xfeeff));
//   uint64_t pfn = CW_TRY(iovas.alloc_fast(16, 0xfffff, IovaDomain::Flush::kYes));
//   iovas.free_fast(pfn, 16);
//
// A range is aligned to its length, rounded up to a power of two. alloc() and free() work on the tree of ranges, under one
// lock. alloc_fast() and free_fast() keep lengths up to 32 in magazines of 127 of each CPU, and full magazines in a depot:
// what a CPU frees it gets again, without meeting the others. Thread-safe; nothing sleeps.
//
// `limit` is the highest pfn the range may end at.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "iommu/iova_tree.h"
#include "mm/per_cpu_lists.h"
#include "sync/mutex.h"
#include "sync/spin_lock.h"

namespace causeway::iommu {

struct IovaMagazine;
class DelayedWork;

class IovaDomain {
 public:
  static constexpr unsigned kClasses = 6;            // lengths of 2^0 to 2^5 granules are cached
  static constexpr unsigned kMagazine = 127;         // pfns; 1 KiB
  static constexpr uint64_t kDepotTrimMs = 100;      // one magazine is given back in that time
  enum class Flush : uint8_t { kNo, kYes };          // of all CPUs' magazines, before giving up

  struct Options {
    uint64_t granule = kPageSize;  // a power of two
    uint64_t start = 1;            // the lowest pfn to hand out; 0 never is
  };
  explicit IovaDomain(const Options& options);
  ~IovaDomain();

  uint64_t granule() const { return uint64_t{1} << shift_; }
  unsigned shift() const { return shift_; }
  uint64_t start() const { return start_; }
  uint64_t last_low_pfn() const { return low_end_ - 1; }  // of the first 4 GiB

  // ENOMEM: no room; EINVAL: no length.
  Result<uint64_t> alloc(uint64_t length, uint64_t limit);
  Result<uint64_t> alloc_fast(uint64_t length, uint64_t limit, Flush flush);
  // By any pfn inside. EINVAL: nobody's, or reserved.
  Status free(uint64_t pfn);
  // The first pfn and the length of the allocation; what is nobody's is found when it would go back into the tree.
  void free_fast(uint64_t pfn, uint64_t length);

  // [first, last] is never handed out. What is reserved already is merged with it; EBUSY: some of it is handed out;
  // EINVAL: no such pfns.
  Status reserve(uint64_t first, uint64_t last);

  struct Range {
    uint64_t first, last;
    bool reserved;
  };
  std::optional<Range> find(uint64_t pfn) const;

  // What alloc_fast() makes of a length: the range it hands out is as long, and free_fast() expects it to be.
  static constexpr uint64_t rounded(uint64_t length) {
    return length < uint64_t{1} << (kClasses - 1) ? std::bit_ceil(length) : length;
  }
  // -- For addresses that a predecessor handed out. What nobody has of [first, last] is handed out now, a range for each
  // gap, in order.
  std::vector<Range> take(uint64_t first, uint64_t last);
  // [first, last] becomes a range of its own, cut out of the one it lies in. EINVAL: nobody has that one, or it is reserved.
  Status cut(uint64_t first, uint64_t last);

  // A CPU goes offline: its magazines go back into the tree.
  void drain_cpu(unsigned cpu);
  // And all CPUs' and the depots'.
  void drain();
  // What the worker does every 100 ms while depots hold more magazines than there are CPUs: true if there is more to do.
  bool trim_depots();

  struct Stats {
    uint64_t live = 0;        // ranges handed out
    uint64_t cached = 0;      // in magazines and depots
    uint64_t depot = 0;       // full magazines in depots
    uint64_t walks = 0;       // searches of the tree
    uint64_t reserved = 0;    // reserved ranges
  };
  Stats stats() const;

 private:
  struct Cache {
    mutable sync::SpinLock lock{"iommu.iova.cpu"};
    IovaMagazine* loaded CW_GUARDED_BY(lock) = nullptr;
    IovaMagazine* previous CW_GUARDED_BY(lock) = nullptr;
  };
  struct alignas(64) Cpu {
    std::array<Cache, kClasses> classes;
  };
  struct alignas(64) Depot {
    mutable sync::SpinLock lock{"iommu.iova.depot"};
    IovaMagazine* top CW_GUARDED_BY(lock) = nullptr;
    uint64_t count CW_GUARDED_BY(lock) = 0;
  };

  std::optional<uint64_t> take_cached(unsigned order, uint64_t length, uint64_t limit);
  bool put_cached(unsigned order, uint64_t pfn);
  void remove(IovaRange* range) CW_REQUIRES(lock_);
  void give_back(IovaMagazine* magazine);
  void drain_depots();

  const unsigned shift_;
  const uint64_t start_;
  const uint64_t low_end_;  // the first pfn at or above 4 GiB

  std::array<Cpu, mm::kCpuSlots> cpus_;
  std::array<Depot, kClasses> depots_;

  alignas(64) mutable sync::SpinLock lock_{"iommu.iova.tree"};
  IovaTree tree_ CW_GUARDED_BY(lock_);
  // Where a search begins: nothing above is worth looking at first. Null: at the limit.
  IovaRange* resume_ CW_GUARDED_BY(lock_) = nullptr;
  IovaRange* resume_low_ CW_GUARDED_BY(lock_) = nullptr;  // for limits below 4 GiB
  uint64_t low_failed_ CW_GUARDED_BY(lock_);  // no room below 4 GiB for so many
  uint64_t walks_ CW_GUARDED_BY(lock_) = 0;
  uint64_t reserved_ CW_GUARDED_BY(lock_) = 0;

  std::unique_ptr<DelayedWork> trimmer_;  // last: it uses all of the above
};

}  // namespace causeway::iommu
