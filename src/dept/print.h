// Text to a file descriptor without libc's streams, memory or locks: for a library inside strangers' programs, and for signal handlers.
//
//   Printer out(STDERR_FILENO);
//   out.text("dept: ").number(count).text(" reports\n");       // written when the buffer fills and at the end
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace causeway::dept {

class Printer {
 public:
  explicit Printer(int fd) : fd_(fd) {}
  ~Printer() { flush(); }
  Printer(const Printer&) = delete;
  Printer& operator=(const Printer&) = delete;

  Printer& text(std::string_view text);
  Printer& number(uint64_t value);
  Printer& hex(uint64_t value);  // with 0x
  // What does not reach the descriptor is lost: there is nobody to tell.
  void flush();

 private:
  int fd_;
  size_t used_ = 0;
  char buffer_[4096];
};

}  // namespace causeway::dept
