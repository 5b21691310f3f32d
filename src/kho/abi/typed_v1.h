// The typed handover format: `kho-v4` plus the reference-count pattern of every preserved block, as
// the "unsplit high-order pages" RFC proposes, under a compatible string of its own.
//
// Differences from kho-v4:
//   - /compatible is kTypedCompatible, so that a kho-v4 kernel refuses it instead of misreading it;
//   - bit 59 of a key is the type: 0 = contiguous (head counted, tails not; every folio), 1 = split.
//     The RFC puts it into bit 63, which the six-level tree does not index; 59 is the highest indexed bit.
//   - order 0 has no second page, its type is always contiguous;
//   - two keys for one block, of different type, are an error.
#pragma once

#include <cstdint>

namespace causeway::kho::abi {

inline constexpr char kTypedCompatible[] = "causeway,kho-typed-v1";
inline constexpr unsigned kTypeBit = 59;

}  // namespace causeway::kho::abi
