#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace causeway::cli {

Progress::Progress(Show show) : on_(show == Show::kIfTerminal && ::isatty(STDERR_FILENO) != 0) {}

void Progress::show(std::string_view line) {
  if (!on_) return;
  fmt::print(stderr, "\r\033[K{}", line);
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace causeway::cli
