// Libraries of ours in programs that we start.
//
//   CW_TRY(preload(kShimLibrary, "or use --supervise", &reason));
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace causeway::cli {

// Puts a library of this installation first into LD_PRELOAD of what is started from now on. `otherwise` is what a user can do if that
// cannot be. ENOENT, EINVAL: `reason` says why.
Status preload(std::string_view library, std::string_view otherwise, std::string* reason);

}  // namespace causeway::cli
