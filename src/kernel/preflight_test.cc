#include "kernel/preflight.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "kernel/version.h"

namespace causeway::kernel {
namespace {

constexpr char kSelf[] = "/proc/self/exe";  // this test program carries a kernel's note

class TemporaryFile {
 public:
  TemporaryFile(const std::string& contents, mode_t mode) : path_(testing::TempDir() + "causeway_preflight_XXXXXX") {
    int fd = ::mkstemp(path_.data());
    EXPECT_EQ(::write(fd, contents.data(), contents.size()), static_cast<ssize_t>(contents.size()));
    EXPECT_EQ(::fchmod(fd, mode), 0);
    ::close(fd);
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string bytes_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Errno error_of(const std::string& path, const char* format, std::string* reason) {
  auto target = preflight(path, format, reason);
  return target ? Errno{0} : target.error().code;
}

TEST(Preflight, AKernelTellsItsReleaseBuildIdAndFormats) {
  std::string reason;
  auto target = preflight(kSelf, "kho-v4", &reason);
  ASSERT_TRUE(target) << reason;
  EXPECT_EQ(target->release, release());
  EXPECT_EQ(target->build_id.size(), 40u);
  EXPECT_EQ(target->formats, (std::vector<std::string>{"kho-v4", "causeway,kho-typed-v1"}));
}

TEST(Preflight, AMissingFileIsEnoent) {
  std::string reason;
  EXPECT_EQ(error_of("/nonexistent/kernel", "kho-v4", &reason), Errno{ENOENT});
  EXPECT_NE(reason.find("/nonexistent/kernel"), std::string::npos);
}

TEST(Preflight, AFileThatIsNotExecutableIsEacces) {
  TemporaryFile file(bytes_of(kSelf), 0600);
  std::string reason;
  EXPECT_EQ(error_of(file.path(), "kho-v4", &reason), Errno{EACCES});
}

TEST(Preflight, ADirectoryIsEacces) {
  std::string reason;
  EXPECT_EQ(error_of("/tmp", "kho-v4", &reason), Errno{EACCES});
}

TEST(Preflight, AScriptIsEnoexec) {
  TemporaryFile file("#!/bin/sh\nexit 0\n", 0700);
  std::string reason;
  EXPECT_EQ(error_of(file.path(), "kho-v4", &reason), Errno{ENOEXEC});
  EXPECT_NE(reason.find("not an x86-64 ELF program"), std::string::npos) << reason;
}

TEST(Preflight, AnotherProgramIsEnoexecAndSaysThatItIsNoKernel) {
  std::string reason;
  EXPECT_EQ(error_of("/bin/true", "kho-v4", &reason), Errno{ENOEXEC});
  EXPECT_NE(reason.find("not a Causeway kernel"), std::string::npos) << reason;
}

TEST(Preflight, AKernelOfAnotherAbiIsRefusedWithBothFormatsNamed) {
  std::string reason;
  EXPECT_EQ(error_of(kSelf, "kho-v9", &reason), Errno{EPROTONOSUPPORT});
  EXPECT_NE(reason.find("kho-v9"), std::string::npos) << reason;
  EXPECT_NE(reason.find("kho-v4"), std::string::npos) << reason;
}

TEST(Preflight, ATruncatedKernelIsRefusedAndDoesNotCrash) {
  std::string whole = bytes_of(kSelf);
  for (size_t size : {size_t{1}, size_t{16}, size_t{63}, size_t{64}, size_t{1000}, whole.size() / 2}) {
    TemporaryFile file(whole.substr(0, size), 0700);
    std::string reason;
    EXPECT_NE(error_of(file.path(), "kho-v4", &reason), Errno{0}) << size;
  }
}

TEST(Preflight, ADamagedHeaderDoesNotCrash) {
  std::string whole = bytes_of(kSelf);
  for (size_t at = 16; at < 64; ++at) {
    std::string damaged = whole.substr(0, 1 << 16);
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    TemporaryFile file(damaged, 0700);
    std::string reason;
    (void)preflight(file.path(), "kho-v4", &reason);
  }
}

}  // namespace
}  // namespace causeway::kernel
