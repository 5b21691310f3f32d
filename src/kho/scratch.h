// Scratch: memory that never holds anything preserved, where the next kernel lives until it has read
// the handover. Chosen at the first cold boot, kept by every later one.
//
//   ScratchSizes sizes = CW_TRY(parse_scratch_option("16M,64M,0"));   // or "150%"
//   auto areas = CW_TRY(reserve_scratch(boot_memory, sizes));
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "mm/boot_memory.h"

namespace causeway::kho {

// Areas are aligned to and sized in whole blocks of the largest order: 4 MiB.
inline constexpr uint64_t kScratchAlignment = MiB(4);

struct ScratchSizes {
  unsigned percent = 200;  // of what is reserved, when `absolute` is false
  bool absolute = false;
  uint64_t low = 0;        // bytes below 4 GiB
  uint64_t global = 0;
  uint64_t per_node = 0;
};

// kho_scratch=: "N%" or "LOW,GLOBAL,NODE" with suffixes K M G T. EINVAL: empty, all three zero, trailing
// characters, a missing comma.
Result<ScratchSizes> parse_scratch_option(std::string_view text);

// Reserves the areas: [0] low, [1] global, [2] the (only) node's. Sizes of zero take no area.
// ENOMEM: what was reserved has been given back.
Result<std::vector<mm::MemRange>> reserve_scratch(mm::BootMemory& boot, const ScratchSizes& sizes);

}  // namespace causeway::kho
