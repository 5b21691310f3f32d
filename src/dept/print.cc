#include "dept/print.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>

namespace causeway::dept {

Printer& Printer::text(std::string_view text) {
  while (!text.empty()) {
    if (used_ == sizeof buffer_) flush();
    const size_t part = std::min(text.size(), sizeof buffer_ - used_);
    std::copy_n(text.data(), part, buffer_ + used_);
    used_ += part;
    text.remove_prefix(part);
  }
  return *this;
}

Printer& Printer::number(uint64_t value) {
  char digits[20];
  char* first = digits + sizeof digits;
  do {
    *--first = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  return text({first, static_cast<size_t>(digits + sizeof digits - first)});
}

Printer& Printer::hex(uint64_t value) {
  char digits[16];
  char* first = digits + sizeof digits;
  do {
    *--first = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value != 0);
  return text("0x").text({first, static_cast<size_t>(digits + sizeof digits - first)});
}

void Printer::flush() {
  const int saved = errno;
  for (size_t done = 0; done < used_;) {
    const ssize_t written = ::write(fd_, buffer_ + done, used_ - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  used_ = 0;
  errno = saved;
}

}  // namespace causeway::dept
