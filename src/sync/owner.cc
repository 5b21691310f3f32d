#include "sync/owner.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace causeway::sync {

int current_thread_id() {
  thread_local const int id = ::gettid();
  return id;
}

void detail::die(const char* kind, const char* name, const char* what, int owner, SourceLocation where) {
  // No allocation and no lock: the caller's state is already wrong.
  const char* file = std::strrchr(where.file_name(), '/');
  file = file != nullptr ? file + 1 : where.file_name();
  char owner_text[48] = "";
  if (owner > 0) std::snprintf(owner_text, sizeof owner_text, ", its owner is thread %d", owner);
  char line[512];
  int length = std::snprintf(line, sizeof line, "sync: %s '%s' %s by thread %d%s (%s:%u)\n", kind,
                             name != nullptr ? name : "unnamed", what, current_thread_id(), owner_text, file,
                             static_cast<unsigned>(where.line()));
  if (length > 0) {
    size_t size = std::strlen(line);
    [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line, size);
  }
  std::abort();
}

}  // namespace causeway::sync
