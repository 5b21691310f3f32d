// A device's request for pages that are not there (PRI; struct iopf_group), and what it is told.
//
//   domain.set_page_request_handler([&](const PageRequestGroup& group) {
//     for (const PageRequest& page : group.pages)
//       if (!bring_in(page.address, page.write)) return PageResponse::kInvalid;
//     return PageResponse::kSuccess;        // the device tries again
//   });
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/types.h"

namespace causeway::iommu {

// IOMMU_PAGE_RESP_*. kInvalid: this request cannot be met; kFailure: nor can any other of the device's.
enum class PageResponse : uint8_t { kSuccess, kInvalid, kFailure };

struct PageRequest {
  Iova address;  // of the page
  bool read = false;
  bool write = false;
};

// What is answered at once.
struct PageRequestGroup {
  Bdf source;
  uint32_t pasid = 0;  // kNoPasid: of the device's own address space
  uint32_t group = 0;
  std::vector<PageRequest> pages;
};

// Runs on the interrupt thread, one at a time for each unit. It may map; it neither attaches nor detaches, which waits for it.
using PageRequestHandler = std::function<PageResponse(const PageRequestGroup&)>;

}  // namespace causeway::iommu
