#include "file/file.h"

namespace causeway::file {

Result<int64_t> File::ioctl(Task&, uint32_t, UserAddr) {
  return fail(ENOTTY, "this file has no ioctls");
}

}  // namespace causeway::file
