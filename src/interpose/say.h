// Messages of a library that may not allocate, lock or use stdio: one write(2) to standard error.
//
//   say("cannot make ", path, ": errno ", 17);        // causeway-dept: cannot make /x: errno 17
#pragma once

#include <cstdint>
#include <string_view>

namespace causeway::interpose {

class Line {
 public:
  Line() { text_[0] = '\0'; }
  Line& operator<<(std::string_view text);
  Line& operator<<(const char* text) { return *this << std::string_view(text); }
  Line& operator<<(int64_t number);
  Line& operator<<(int number) { return *this << int64_t{number}; }
  Line& operator<<(unsigned number) { return *this << int64_t{number}; }
  // What was put into it, cut off where it had no room, and ending with a zero byte.
  const char* c_str() const { return text_; }
  std::string_view view() const { return {text_, length_}; }
  void write_to(int fd);

 private:
  unsigned length_ = 0;
  char text_[4352];
};

template <typename... Parts>
void say(const Parts&... parts) {
  Line line;
  line << "causeway-dept: ";
  (line << ... << parts);
  line << "\n";
  line.write_to(2);
}

}  // namespace causeway::interpose
