// Which kernel this is. Each kernel binary has its own (CMake: causeway_kernel_image).
#pragma once

namespace causeway::kernel {

// "0.1.0" or "0.1.0-next": uname -r of this kernel.
const char* release();

}  // namespace causeway::kernel
