// Writes what this kernel hands over into a file, as the next kernel will read it: after freeze(), before the jump.
//
//   CW_TRY(kernel.freeze());
//   auto summary = dump_handover(kernel.platform(), fd);
//   if (!summary) kernel.thaw();
//
// The devices go on and nobody consumes meanwhile, so all of it is blackout: the time to decode the handover and to
// write the preserved memory that is not zero. The machine's memory is mapped once more for it, so that nothing of this
// kernel's own changes and holes stay holes; hot-added regions cost a system call or two each.
#pragma once

#include "base/result.h"
#include "inspect/core_writer.h"
#include "platform/platform.h"

namespace causeway::server {

// `fd`: a regular file, open for reading and writing; made empty first. EINVAL: it is something else, or no handover is
// published; EMFILE, ENOMEM; those of write(2). What has been written then is no ELF file.
Result<inspect::CoreSummary> dump_handover(platform::Platform& platform, int fd);

}  // namespace causeway::server
