#include "cli/absent_pages.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

namespace causeway::cli {
namespace {

TEST(AbsentPages, OfAFileThatWasCutShortAreZeros) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const int fd = ::memfd_create("short", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(2 * page)), 0);
  ASSERT_EQ(::pwrite(fd, "ab", 2, static_cast<off_t>(page - 1)), 2);
  const auto* bytes = static_cast<const volatile char*>(::mmap(nullptr, 2 * page, PROT_READ, MAP_SHARED, fd, 0));
  ASSERT_NE(static_cast<const volatile void*>(bytes), MAP_FAILED);
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(page)), 0);
  EXPECT_EXIT({ read_absent_pages_as_zeros(); ::_exit(bytes[page] == 0 && bytes[page - 1] == 'a' ? 0 : 1); }, ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT({ read_absent_pages_as_zeros(); ::raise(SIGBUS); ::raise(SIGBUS); ::_exit(0); }, ::testing::KilledBySignal(SIGBUS), "");
  ::munmap(const_cast<char*>(bytes), 2 * page);
  ::close(fd);
}

}  // namespace
}  // namespace causeway::cli
