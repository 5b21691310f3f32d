#include "cli/recording_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

namespace causeway::cli {
namespace {

namespace fs = std::filesystem;

void make_old(const std::string& path) {
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST(RecordingDirectory, IsRemovedUnlessItIsTheUsers) {
  std::string path;
  {
    RecordingDirectory directory("");
    path = directory.path();
    ASSERT_TRUE(fs::is_directory(path));
    std::ofstream(path + "/1.dept") << "x";
  }
  EXPECT_FALSE(fs::exists(path));
  char name[] = "/tmp/keep-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  { EXPECT_EQ(RecordingDirectory(std::string(name) + "/a/b").path(), std::string(name) + "/a/b"); }
  EXPECT_TRUE(fs::is_directory(std::string(name) + "/a/b"));
  fs::remove_all(name);
}

TEST(RecordingDirectory, WhatCannotTakeThemIsNamed) {
  const RecordingDirectory file("/dev/null");
  EXPECT_EQ(file.path(), "");
  EXPECT_NE(file.reason().find("/dev/null"), std::string::npos) << file.reason();
  // A file system without room.
  const RecordingDirectory no_room("/proc/self");
  EXPECT_EQ(no_room.path(), "");
  EXPECT_NE(no_room.reason().find("0 MiB"), std::string::npos) << no_room.reason();
}

TEST(RecordingDirectory, OfADeadRunIsRemovedByTheNext) {
  RecordingDirectory live("");
  const std::string base = fs::path(live.path()).parent_path();
  // One whose owner was killed.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    RecordingDirectory dead("");
    std::ofstream(dead.path() + "/1.dept") << "x";
    if (::write(ends[1], dead.path().c_str(), dead.path().size()) > 0) ::raise(SIGKILL);
    ::_exit(1);
  }
  char name[4096] = {};
  ASSERT_GT(::read(ends[0], name, sizeof name - 1), 0);
  ::waitpid(pid, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  ASSERT_TRUE(fs::exists(name));
  RecordingDirectory::remove_stale(base);
  EXPECT_TRUE(fs::exists(name)) << "so young that its owner may be about to lock it";
  make_old(name);
  make_old(live.path());
  RecordingDirectory::remove_stale(base);
  EXPECT_FALSE(fs::exists(name));
  EXPECT_TRUE(fs::exists(live.path())) << "its owner lives";
}

}  // namespace
}  // namespace causeway::cli
