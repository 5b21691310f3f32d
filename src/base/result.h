// Result<T>: a value or an Error. No exceptions cross a room's border.
//
//   Result<Page*> alloc(Order order) {
//     CW_TRY(check_order(order));
//     Page* page = CW_TRY(take_from_free_list(order));
//     if (!page->usable()) return fail(EIO, "bad page on the free list");
//     return page;
//   }
//
// An Error carries a kernel errno, a static sentence (lower case, no full stop) and the place that
// made it. What varies (addresses, sizes) goes into the log line that accompanies the failure.
#pragma once

#include <source_location>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "base/errno.h"

namespace causeway {

struct Error {
  Errno code{};
  const char* message = "";  // a string literal
  std::source_location where;

  int return_value() const { return to_return_value(code); }
};

// "ENOMEM: no free block of order 9 (page_allocator.cc:120)".
std::string to_string(const Error& error);

// A class of its own, not an alias, so that dropping one is a warning.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};
using Status = Result<void>;

inline tl::unexpected<Error> fail(int code, const char* message,
                                  std::source_location where = std::source_location::current()) {
  return tl::unexpected<Error>(Error{Errno{code}, message, where});
}
inline tl::unexpected<Error> fail(const Error& error) { return tl::unexpected<Error>(error); }

// fail() with the calling thread's errno, for a system call that has just failed.
tl::unexpected<Error> fail_with_errno(const char* message,
                                      std::source_location where = std::source_location::current());

}  // namespace causeway

// The value of a Result, or return its error from the enclosing function.
#define CW_TRY(expression)                                                       \
  ({                                                                             \
    auto&& cw_result_ = (expression);                                            \
    if (!cw_result_.has_value()) [[unlikely]]                                    \
      return ::tl::unexpected<::causeway::Error>(std::move(cw_result_).error()); \
    ::causeway::detail::take(std::move(cw_result_));                             \
  })

namespace causeway::detail {
template <typename T>
T take(Result<T>&& result) {
  return std::move(*result);
}
inline void take(Result<void>&&) {}
}  // namespace causeway::detail
