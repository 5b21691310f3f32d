#include "platform/direct_map.h"

#include <sys/mman.h>

#include <cerrno>

namespace causeway::platform {

Result<DirectMap> DirectMap::create(uint64_t limit) {
  if (limit == 0 || !is_aligned(limit, kPageSize))
    return fail(EINVAL, "the limit of the direct map is not whole pages");
  return DirectMap(CW_TRY(Mapping::reserve(limit)));
}

Status DirectMap::check_range(PhysAddr base, uint64_t size, uint64_t fd_offset) const {
  uint64_t end;
  if (size == 0 || !is_aligned(size | fd_offset, kPageSize) || !base.is_aligned(kPageSize))
    return fail(EINVAL, "a range of the direct map is not whole pages");
  if (!checked_add(base.value(), size, &end) || end > limit_)
    return fail(EINVAL, "a range lies beyond the limit of the direct map");
  return {};
}

Status DirectMap::map(PhysAddr base, uint64_t size, int fd, uint64_t fd_offset) {
  CW_TRY(check_range(base, size, fd_offset));
  void* at = ::mmap(to_virt(base), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                    static_cast<off_t>(fd_offset));
  if (at == MAP_FAILED) return fail_with_errno("cannot map ram into the direct map");
  return {};
}

Status DirectMap::map_read_only(PhysAddr base, uint64_t size, int fd, uint64_t fd_offset) {
  CW_TRY(check_range(base, size, fd_offset));
  void* at = MAP_FAILED;
  // The private one for Linux before 6.7, as Mapping::shared_read_only() explains.
  for (int sharing : {MAP_SHARED, MAP_PRIVATE}) {
    at = ::mmap(to_virt(base), size, PROT_READ, sharing | MAP_FIXED, fd, static_cast<off_t>(fd_offset));
    if (at != MAP_FAILED || errno != EPERM) break;
  }
  if (at == MAP_FAILED) return fail_with_errno("cannot map read-only ram into the direct map");
  return {};
}

Status DirectMap::unmap(PhysAddr base, uint64_t size) {
  uint64_t end;
  if (size == 0 || !is_aligned(size, kPageSize) || !base.is_aligned(kPageSize) ||
      !checked_add(base.value(), size, &end) || end > limit_)
    return fail(EINVAL, "no such range in the direct map");
  void* at =
      ::mmap(to_virt(base), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (at == MAP_FAILED) return fail_with_errno("cannot unmap ram from the direct map");
  return {};
}

}  // namespace causeway::platform
