#include "base/result.h"

#include <fmt/core.h>

#include <cstring>
#include <string_view>

namespace causeway {

const char* name_of(Errno value) {
  const char* name = strerrorname_np(static_cast<int>(value));
  return name != nullptr ? name : "E?";
}

std::string to_string(const Error& error) {
  std::string_view file = error.where.file_name();
  if (auto slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return fmt::format("{}: {} ({}:{})", name_of(error.code), error.message, file, error.where.line());
}

tl::unexpected<Error> fail_with_errno(const char* message, SourceLocation where) {
  return tl::unexpected<Error>(Error{Errno{errno}, message, where});
}

}  // namespace causeway
