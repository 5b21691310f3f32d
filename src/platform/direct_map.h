// The direct map: all RAM of the machine at one virtual offset, as the kernel's linear map.
//
//   std::byte* p = map.to_virt(PhysAddr{0x200000});
//   PhysAddr pa = map.to_phys(p);
//
// Address space for the whole physical range is reserved once; regions are mapped into it when they
// appear and unmapped when they go. RAM is sparse: a page costs nothing until somebody touches it.
#pragma once

#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"

namespace causeway::platform {

class DirectMap {
 public:
  // Room for physical addresses [0, limit). Errors: ENOMEM.
  static Result<DirectMap> create(uint64_t limit);

  // Maps `size` bytes of `fd` from `fd_offset` at `base`; all page aligned. Errors: EINVAL outside
  // the limit, and those of mmap().
  Status map(PhysAddr base, uint64_t size, int fd, uint64_t fd_offset);
  // The same for memory that is not to be written to, sealed files included.
  Status map_read_only(PhysAddr base, uint64_t size, int fd, uint64_t fd_offset);
  // Back to reserved address space: an access faults.
  Status unmap(PhysAddr base, uint64_t size);

  std::byte* to_virt(PhysAddr address) const { return base_ + address.value(); }
  template <typename T>
  T* to_virt(PhysAddr address) const {
    return reinterpret_cast<T*>(to_virt(address));
  }
  // `pointer` lies inside the direct map: contains(pointer).
  PhysAddr to_phys(const void* pointer) const {
    return PhysAddr(static_cast<uint64_t>(static_cast<const std::byte*>(pointer) - base_));
  }
  bool contains(const void* pointer) const {
    auto* p = static_cast<const std::byte*>(pointer);
    return p >= base_ && p < base_ + limit_;
  }
  uint64_t limit() const { return limit_; }

 private:
  Status check_range(PhysAddr base, uint64_t size, uint64_t fd_offset) const;
  explicit DirectMap(Mapping reservation)
      : reservation_(std::move(reservation)), base_(reservation_.data()), limit_(reservation_.size()) {}
  Mapping reservation_;
  std::byte* base_ = nullptr;
  uint64_t limit_ = 0;
};

}  // namespace causeway::platform
