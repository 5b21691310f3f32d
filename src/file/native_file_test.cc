#include "file/native_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file/testing/local_task.h"

namespace causeway::file {
namespace {

TEST(NativeFile, MemfdIsMemoryAndKnowsItsSize) {
  UniqueFd fd(::memfd_create("m", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), 12345), 0);
  auto file = NativeFile::wrap(std::move(fd));
  ASSERT_TRUE(file);
  EXPECT_TRUE((*file)->is_memory());
  EXPECT_EQ(*(*file)->size(), 12345u);
  EXPECT_EQ((*file)->link_text(), "/memfd:m (deleted)");
}

TEST(NativeFile, PipesAndDevicesAreNoMemory) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd other(ends[1]);
  EXPECT_FALSE((*NativeFile::wrap(UniqueFd(ends[0])))->is_memory());
  EXPECT_FALSE((*NativeFile::wrap(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))))->is_memory());
}

TEST(NativeFile, LinkedFileOfTmpfsIsNoMemory) {
  UniqueFd fd(::open("/dev/shm/causeway-native-file-test", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) GTEST_SKIP() << "/dev/shm is not writable";
  UniqueFd again(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_FALSE((*NativeFile::wrap(std::move(again)))->is_memory());
  ::unlink("/dev/shm/causeway-native-file-test");
  EXPECT_TRUE((*NativeFile::wrap(std::move(fd)))->is_memory());
}

TEST(NativeFile, ReopenedAndDuplicatedDescriptorsHaveOneIdentity) {
  UniqueFd fd(::memfd_create("m", MFD_CLOEXEC));
  std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  auto reopened = NativeFile::wrap(UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC)));
  auto other = NativeFile::wrap(UniqueFd(::memfd_create("m", MFD_CLOEXEC)));
  auto file = NativeFile::wrap(std::move(fd));
  EXPECT_EQ((*file)->identity(), (*reopened)->identity());
  EXPECT_NE((*file)->identity(), (*other)->identity());
}

TEST(NativeFile, PathOnlyAndClosedDescriptorsAreEbadf) {
  EXPECT_EQ(NativeFile::wrap(UniqueFd(::open("/dev/null", O_PATH | O_CLOEXEC))).error().code, Errno{EBADF});
  EXPECT_EQ(NativeFile::wrap(UniqueFd()).error().code, Errno{EBADF});
}

TEST(File, WithoutIoctlsIsEnotty) {
  auto file = NativeFile::wrap(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  testing::LocalTask task;
  EXPECT_EQ((*file)->ioctl(task, 0xba00, UserAddr{}).error().code, Errno{ENOTTY});
}

}  // namespace
}  // namespace causeway::file
