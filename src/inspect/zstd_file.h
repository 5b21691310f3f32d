// Unpacks a zstd file. Private to this room.
//
//   UniqueFd plain = CW_TRY(unpack_zstd(bytes, GiB(16), findings));
#pragma once

#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "inspect/finding.h"

namespace causeway::inspect {

bool is_zstd(std::span<const std::byte> bytes);
// An anonymous sparse file: pages of zeros take no memory. EFBIG: more than `max_bytes` that are not zero, or a length above
// 1 EiB; EBADMSG: damaged. A file that ends early is unpacked as far as it goes, with a finding.
Result<UniqueFd> unpack_zstd(std::span<const std::byte> bytes, uint64_t max_bytes, Findings& findings);

}  // namespace causeway::inspect
