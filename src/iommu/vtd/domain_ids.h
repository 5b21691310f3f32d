// The domain ids of one unit: tags of what it caches (spec 3.3).
//
//   DomainIds ids(caps.domains());                // 2..domains - 1
//   DomainId id = CW_TRY(ids.allocate());
//   CW_TRY(ids.reserve(id_of_the_old_kernel));    // before anybody allocates
//
// 0 tags what is cached as not present, 1 is shared by all pass-through and first-stage default users; neither is ever
// allocated. An id is freed after everything it tags has been flushed. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "sync/guarded.h"

namespace causeway::iommu::vtd {

inline constexpr DomainId kSharedDomainId{1};

class DomainIds {
 public:
  explicit DomainIds(uint32_t domains);  // a power of two, 16..65536

  Result<DomainId> allocate();   // the lowest that is free. ENOSPC
  Status reserve(DomainId id);   // EBUSY: taken; EINVAL: 0, 1, or one that the unit does not have
  void free(DomainId id);        // one that is taken
  bool is_taken(DomainId id) const;
  uint32_t taken() const;        // 0 and 1 not counted
  uint32_t capacity() const { return domains_ - 2; }

 private:
  struct State {
    std::vector<uint64_t> words;  // a bit for each id that is taken
    uint32_t first_free = 0;      // no word before it has a bit left
    uint32_t taken = 0;
  };
  const uint32_t domains_;
  sync::Guarded<State> state_{sync::LockName{"iommu.vtd.domain_ids"}};
};

}  // namespace causeway::iommu::vtd
