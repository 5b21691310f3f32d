// Whether a demo's disk holds what its driver wrote: sha256sum of the file beside sha256sum of what it has to be.
//
//   DiskSeen seen = CW_TRY(compare_disk(disk_fd, status));
#pragma once

#include "base/result.h"
#include "cli/demo.h"

namespace causeway::cli {

// `status`: of a kernel whose work on the disk has ended. ENOENT: no sha256sum; EPROTO: the kernel drives no disk.
Result<DiskSeen> compare_disk(int disk, const kernel::KernelStatus& status);

}  // namespace causeway::cli
