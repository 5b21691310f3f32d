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

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "base/errno.h"
#include "base/source_location.h"

namespace causeway {

struct Error {
  Errno code{};
  const char* message = "";  // a string literal
  SourceLocation where;

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
                                  SourceLocation where = SourceLocation::current()) {
  return tl::unexpected<Error>(Error{Errno{code}, message, where});
}
inline tl::unexpected<Error> fail(const Error& error) { return tl::unexpected<Error>(error); }

// fail() with the calling thread's errno, for a system call that has just failed.
tl::unexpected<Error> fail_with_errno(const char* message,
                                      SourceLocation where = SourceLocation::current());

}  // namespace causeway

// The value of a Result, or return its error from the enclosing function. The value of a temporary is
// moved out; that of a named Result is copied: CW_TRY(std::move(result)) moves it. T is not a
// reference; return a pointer instead.
#define CW_TRY(...) CW_DETAIL_TRY_COUNTED((__VA_ARGS__), __COUNTER__)
// The counter gives nested uses different variables.
#define CW_DETAIL_TRY_COUNTED(expression, counter) CW_DETAIL_TRY_JOIN(expression, counter)
#define CW_DETAIL_TRY_JOIN(expression, counter) CW_DETAIL_TRY(expression, cw_result_##counter)
#define CW_DETAIL_TRY(expression, result)                             \
  ({                                                                  \
    auto&& result = expression;                                       \
    if (!result.has_value()) [[unlikely]]                             \
      return ::tl::unexpected<::causeway::Error>(result.error());     \
    ::causeway::detail::take(std::forward<decltype(result)>(result)); \
  })

namespace causeway::detail {
template <typename T>
T take(tl::expected<T, Error>&& result) {
  return std::move(*result);
}
template <typename T>
T take(const tl::expected<T, Error>& result) {
  return *result;
}
inline void take(const tl::expected<void, Error>&) {}
inline void take(tl::expected<void, Error>&&) {}
}  // namespace causeway::detail
