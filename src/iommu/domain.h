// A domain: an address space that devices see (struct iommu_domain). What the DMA API needs of it first, then what the
// core and live update do.
//
//   CW_TRY(domain.map(Iova{0x10000}, phys, KiB(64), kRead | kWrite));     // no TLB is told yet
//   domain.sync_map(Iova{0x10000}, KiB(64));
//   Gather gather;
//   domain.unmap(Iova{0x10000}, KiB(64), gather);                         // the device may still hit its TLB
//   domain.sync(gather);                                                  // now it cannot
//
// Ranges are multiples of the smallest page size, the granule. Thread-safe as in the kernel: the caller owns the range it
// maps or unmaps, others may be changed at the same time.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "iommu/iommu_pages.h"
#include "iommu/page_request.h"

namespace causeway::iommu {

class Device;
class Driver;
class IoPageTable;

// IOMMU_READ and so on, the kernel's values.
enum Prot : uint32_t {
  kRead = 1u << 0,
  kWrite = 1u << 1,
  kCache = 1u << 2,
  kNoExec = 1u << 3,
  kMmio = 1u << 4,
  kPriv = 1u << 5,
};
std::string describe_prot(uint32_t prot);  // "WRITE|CACHE"

// Process address space id: one of several address spaces of one device.
using Pasid = uint32_t;
inline constexpr Pasid kNoPasid = 0;  // IOMMU_NO_PASID: requests without one
inline constexpr Pasid kInvalidPasid = ~Pasid{0};

// What an unmap leaves to be flushed (struct iommu_iotlb_gather).
struct Gather {
  Iova start{~uint64_t{0}};
  Iova end{0};  // inclusive
  bool queued = false;  // the caller will flush everything later
  FreeList freed;       // tables that nothing points to any more; freed after the flush
  void add(Iova from, uint64_t size) {
    if (from < start) start = from;
    Iova last = from + (size - 1);
    if (last > end) end = last;
  }
  bool empty() const { return start > end; }
};

struct Aperture {
  Iova start{0};
  Iova end{~uint64_t{0}};  // inclusive
  bool force = true;       // devices cannot address outside
};

enum class DomainType : uint8_t { kBlocked, kIdentity, kUnmanaged, kDma, kDmaFq };
const char* name_of(DomainType type);  // as in sysfs: "blocked", "identity", "unmanaged", "DMA", "DMA-FQ"

// The pages a device has written to, collected by read_and_clear_dirty().
class DirtyBitmap {
 public:
  virtual ~DirtyBitmap() = default;
  virtual void record(Iova iova, uint64_t size) = 0;
};
enum class DirtyClear : uint8_t { kYes, kNo };  // kNo: IOMMU_DIRTY_NO_CLEAR

class Domain {
 public:
  virtual ~Domain() = default;

  virtual DomainType type() const = 0;
  virtual uint64_t page_sizes() const = 0;  // a bit for each size
  virtual Aperture aperture() const = 0;
  uint64_t granule() const { return page_sizes() & (~page_sizes() + 1); }

  // EINVAL: not aligned to the granule, or nothing, or no access; EADDRINUSE: mapped already; ERANGE: outside; ENOMEM. All
  // or nothing. Does not sleep.
  virtual Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) = 0;
  virtual void sync_map(Iova iova, uint64_t size) = 0;
  // Bytes unmapped: up to the first hole; more than `size`, if a leaf ends beyond it.
  virtual uint64_t unmap(Iova iova, uint64_t size, Gather& gather) = 0;
  // Flushes what was gathered, and frees its tables.
  virtual void sync(Gather& gather) = 0;
  // Afterwards free_tables() of what was unmapped before.
  virtual void flush_all() = 0;
  // Tables of a gather with `queued`, after a flush_all() that began after their unmap.
  virtual void free_tables(FreeList&) {}
  virtual std::optional<PhysAddr> iova_to_phys(Iova iova) const = 0;

  // -- Dirty tracking. EOPNOTSUPP: the format has no dirty bits, or the hardware does not set them.
  virtual Status set_dirty_tracking(bool) { return fail(EOPNOTSUPP, "the domain cannot track dirty pages"); }
  virtual Status read_and_clear_dirty(Iova, uint64_t, DirtyClear, DirtyBitmap*, Gather&) {
    return fail(EOPNOTSUPP, "the domain cannot track dirty pages");
  }
  // From now on whatever is mapped is snooped, whatever the device says. EINVAL: the hardware cannot.
  virtual Status enforce_cache_coherency() { return fail(EINVAL, "the hardware cannot force coherence"); }

  // -- What the core calls, under the group's lock (struct iommu_domain_ops). `old`: what the device, or its PASID, has
  // now; null only for the first domain of a device, and for a PASID that has none. A failure leaves the device
  // blocked, or on `old`; the core attaches `old` again: from the blocked domain, and a PASID from null.
  virtual const Driver* owner() const { return nullptr; }  // whose devices it can be attached to
  virtual Status attach(Device&, Domain* /*old*/) { return fail(EOPNOTSUPP, "the domain cannot be attached"); }
  // False: attach_pasid() is not even tried. A PASID is detached by attach_pasid() of the blocked domain.
  virtual bool takes_pasids() const { return true; }
  virtual Status attach_pasid(Device&, Pasid, Domain* /*old*/) { return fail(EOPNOTSUPP, "the domain has no PASIDs"); }

  // Who answers devices that ask for pages of the domain (iopf_handler): set while nothing is attached. From the attach of
  // a device that can ask until its detach, which waits for requests under way; without one they are refused.
  void set_page_request_handler(PageRequestHandler handler) { page_requests_ = std::move(handler); }
  const PageRequestHandler& page_request_handler() const { return page_requests_; }

  // -- What live update preserves. Null: a domain without a page table of its own.
  virtual IoPageTable* page_table() { return nullptr; }

  // Who hands out the domain's addresses (cookie_type): one at a time. False: somebody does already.
  [[nodiscard]] bool claim() { return !claimed_.exchange(true, std::memory_order_acq_rel); }
  void unclaim() { claimed_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> claimed_{false};
  PageRequestHandler page_requests_;
};

}  // namespace causeway::iommu
