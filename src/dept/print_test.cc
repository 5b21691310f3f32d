#include "dept/print.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace causeway::dept {
namespace {

TEST(Printer, WritesNumbersAndMoreThanItsBuffer) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string lots(5000, 'x');
  Printer(ends[1]).text("a").number(0).text(" ").number(UINT64_MAX).text(" ").hex(0).text(" ").hex(0xbeef).text(lots);
  ::close(ends[1]);
  std::string text;
  char part[512];
  for (ssize_t n; (n = ::read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  ::close(ends[0]);
  EXPECT_EQ(text, "a0 18446744073709551615 0x0 0xbeef" + lots);
}

}  // namespace
}  // namespace causeway::dept
