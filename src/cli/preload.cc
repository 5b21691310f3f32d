#include "cli/preload.h"

#include <fmt/format.h>

#include <cstdlib>

#include "cli/programs.h"

namespace causeway::cli {

Status preload(std::string_view library, std::string_view otherwise, std::string* reason) {
  auto path = library_path(library);
  if (!path) {
    *reason = fmt::format("{} is not in this installation: build or install it first", library);
    return fail(path.error());
  }
  // The loader takes a space for a separator.
  if (path->find_first_of(" :") != std::string::npos) {
    *reason = fmt::format("the path '{}' has a space or colon in it, which LD_PRELOAD cannot express: install it elsewhere{}{}", *path,
                          otherwise.empty() ? "" : ", ", otherwise);
    return fail(EINVAL, "a path that cannot be preloaded");
  }
  const char* others = std::getenv("LD_PRELOAD");
  ::setenv("LD_PRELOAD", others == nullptr || *others == '\0' ? path->c_str() : (*path + ":" + others).c_str(), 1);
  return {};
}

}  // namespace causeway::cli
