#include "interpose/say.h"

#include "client/raw.h"

namespace causeway::interpose {

Line& Line::operator<<(std::string_view text) {
  for (char c : text) {
    if (length_ + 1 >= sizeof text_) break;
    text_[length_++] = c;
  }
  text_[length_] = '\0';
  return *this;
}

Line& Line::operator<<(int64_t number) {
  char digits[20];
  unsigned count = 0;
  uint64_t rest = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  do {
    digits[count++] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (number < 0) *this << "-";
  while (count != 0) *this << std::string_view(&digits[--count], 1);
  return *this;
}

void Line::write_to(int fd) { client::raw(SYS_write, fd, text_, length_); }

}  // namespace causeway::interpose
