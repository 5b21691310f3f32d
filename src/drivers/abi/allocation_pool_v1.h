// What AllocationPool hands over: subtree "allocation-pool", blob = AllocationPoolState.
#pragma once

#include <cstdint>

namespace causeway::drivers::abi {

inline constexpr char kAllocationPoolCompatible[32] = "causeway,allocation-pool-v1";

struct AllocationPoolState {
  char compatible[32];
  uint64_t tokens;  // head of a kho_block chain of u64 tokens
  uint64_t count;
};
static_assert(sizeof(AllocationPoolState) == 48);

}  // namespace causeway::drivers::abi
