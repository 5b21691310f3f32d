#include "shim/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/raw.h"

namespace causeway::shim {

void say(const char* format, ...) {
  char line[512];
  int prefix = snprintf(line, sizeof line, "causeway: ");
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line + prefix, sizeof line - static_cast<size_t>(prefix), format, arguments);
  va_end(arguments);
  size_t total = static_cast<size_t>(prefix) + (length > 0 ? static_cast<size_t>(length) : 0);
  if (total >= sizeof line) total = sizeof line - 1;
  client::raw(SYS_write, STDERR_FILENO, line, total);
}

}  // namespace causeway::shim
