// vmalloc: pages that are not physically contiguous, mapped at contiguous virtual addresses. The
// mapping is a second one of the same pages (real aliases of the direct map).
//
//   VmArea* area = CW_TRY(vmalloc.alloc(MiB(1), kGfpKernel));
//   auto* table = reinterpret_cast<uint64_t*>(area->address);
//   vmalloc.free(area->address);
//
// Physically contiguous runs become one host mapping each, so the number of mappings a process may
// have (vm.max_map_count, 65530) limits how scattered areas can be. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "mm/page_allocator.h"
#include "platform/platform.h"

namespace causeway::mm {

// VM_* flags of an area, the kernel's values.
inline constexpr uint32_t kVmIoremap = 0x1;
inline constexpr uint32_t kVmAlloc = 0x2;
inline constexpr uint32_t kVmMap = 0x4;
inline constexpr uint32_t kVmAllowHuge = 0x400;

struct VmArea {
  std::byte* address = nullptr;
  uint64_t size = 0;  // bytes, whole pages
  uint32_t flags = 0;
  Order page_order;  // each entry of `pages` stands for 2^page_order pages
  std::vector<Page*> pages;
};

// The host memory behind a frame: `offset` in the file `fd`, and how many bytes from there on are
// physically contiguous too.
struct PageBacking {
  int fd = -1;
  uint64_t offset = 0;
  uint64_t contiguous = 0;
};
// EINVAL: no RAM there. Called with no lock held.
using FindBacking = std::function<Result<PageBacking>(PhysAddr)>;

class Vmalloc {
 public:
  Vmalloc(PageAllocator& allocator, FindBacking find_backing);
  Vmalloc(PageAllocator& allocator, const platform::Platform& platform)
      : Vmalloc(allocator, [&platform](PhysAddr address) -> Result<PageBacking> {
          platform::Platform::Backing backing = CW_TRY(platform.backing(address));
          return PageBacking{backing.fd, backing.offset, backing.contiguous};
        }) {}
  // Unmaps what is left; pages of areas nobody freed stay allocated.
  ~Vmalloc();

  // Zeroed memory of whole pages; kVmAlloc, plus kVmAllowHuge and blocks of a higher order with
  // `allow_huge` (then the size is rounded up to whole blocks). Every page has refcount 1 of its own.
  // ENOMEM, EINVAL for 0. The area is the caller's until free().
  Result<const VmArea*> alloc(uint64_t size, Gfp gfp, bool allow_huge = false);
  // Maps pages the caller has (kVmMap; or as `flags` says). free() unmaps; with kVmAlloc it also
  // puts each page. EINVAL: no pages, or a block not aligned to its order.
  Result<const VmArea*> map(std::span<Page* const> pages, Order page_order, uint32_t flags);
  // By the area's first address. Unknown addresses are reported and ignored.
  void free(void* address);
  // The area that contains `address`, or null (find_vm_area).
  const VmArea* find(const void* address) const;
  // The physical address behind a vmalloc address. EINVAL.
  Result<PhysAddr> to_phys(const void* address) const;
  // The host memory behind a frame, for a mapping of somebody else's. EINVAL: no RAM there.
  Result<PageBacking> backing(PhysAddr address) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::mm
