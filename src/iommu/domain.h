// What the DMA API needs of an IOMMU: a domain, an address space that devices see.
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

namespace causeway::iommu {

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

// What an unmap leaves to be flushed (struct iommu_iotlb_gather).
struct Gather {
  Iova start{~uint64_t{0}};
  Iova end{0};  // inclusive
  bool queued = false;  // the caller will flush everything later
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

class Domain {
 public:
  virtual ~Domain() = default;

  virtual DomainType type() const = 0;
  virtual uint64_t page_sizes() const = 0;  // a bit for each size
  virtual Aperture aperture() const = 0;
  uint64_t granule() const { return page_sizes() & (~page_sizes() + 1); }

  // EINVAL: not aligned to the granule, or nothing; EEXIST: mapped already; ENOMEM. All or nothing. Does not sleep.
  virtual Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) = 0;
  virtual void sync_map(Iova iova, uint64_t size) = 0;
  // Bytes unmapped: up to the first hole.
  virtual uint64_t unmap(Iova iova, uint64_t size, Gather& gather) = 0;
  virtual void sync(Gather& gather) = 0;
  virtual void flush_all() = 0;
  virtual std::optional<PhysAddr> iova_to_phys(Iova iova) const = 0;

  // Who hands out the domain's addresses (cookie_type): one at a time. False: somebody does already.
  [[nodiscard]] bool claim() { return !claimed_.exchange(true, std::memory_order_acq_rel); }
  void unclaim() { claimed_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> claimed_{false};
};

}  // namespace causeway::iommu
