// A memfd made from a record whose folios are not the pages of a file: the contents are copied. Private to this room.
//
//   UniqueFd fd = CW_TRY(make_copy(memory, kho, record));
#pragma once

#include "base/unique_fd.h"
#include "kho/kho.h"
#include "memfd/client_memory.h"
#include "memfd/record.h"

namespace causeway::memfd {

// Size, contents, seals and position as recorded; pages of zeros become holes, what lies beyond the size is left
// out. The record and its folios are untouched. ENOMEM, EMFILE, ENOSPC; EIO: a folio of client memory cannot be read.
Result<UniqueFd> make_copy(ClientMemory& memory, kho::Kho& kho, const Record& record);

}  // namespace causeway::memfd
