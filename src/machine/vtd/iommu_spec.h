// Which IOMMUs a machine has, as text:
//
//   vtd[,scalable=0|1][,first_stage=0|1][,aw=39|48|57][,domains=16|64|256|1024|4096|16384|65536][,caching_mode=0|1]
//      [,coherent=0|1][,rwbf=0|1][,faults=1..128][,qi=0|1][,ats=0|1][,prs=0|1][,esrtps=0|1][,strict=N][,scope=all|BDF+BDF...]
//      [,reserved=BASE-LAST@BDF+BDF...]...
//
//   IommuSpec spec = CW_TRY(parse_iommu_spec("vtd,scalable=1,scope=00:01.0+00:02.0"));
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace causeway::machine {

// Memory that the firmware uses through devices behind the unit: the kernel maps it one to one for them. Whole pages.
struct ReservedMemory {
  uint64_t base = 0;
  uint64_t last = 0;  // inclusive
  std::vector<Bdf> devices;
};

struct IommuSpec {
  bool scalable = false;
  bool first_stage = true;  // in scalable mode
  unsigned address_width = 48;
  unsigned domains = 65536;
  bool caching_mode = false;
  bool coherent = true;
  bool write_buffer_flush = false;  // CAP.RWBF: software must flush the write buffer
  unsigned fault_records = 8;
  bool queued_invalidation = true;
  bool ats = true;
  bool page_requests = false;  // in scalable mode: devices may ask for pages
  bool enhanced_set_root = false;  // a new root table invalidates every cache
  unsigned strict = 1;             // every Nth hit is compared with the tables in memory; 0: none
  std::vector<Bdf> scope;          // the devices behind it; empty: all that no other unit has
  std::vector<ReservedMemory> reserved = {};
};

// EINVAL with the part that is wrong.
Result<IommuSpec> parse_iommu_spec(std::string_view text);

}  // namespace causeway::machine
