// Where the recordings of one run lie while it is watched: in memory, if there is room. A page that is first written on a disk
// takes milliseconds, inside the locks of the program that is watched, and changes what it does.
//
//   RecordingDirectory directory("");             // of its own, removed at the end
//   RecordingDirectory directory("run1");         // the user's, kept
//   if (directory.path().empty()) complain(directory.reason());
//
// /dev/shm, $TMPDIR, /tmp: the first that has room. A program dies when its recording meets the end of a file system.
// A directory that a run has left behind because it was killed is removed by the next: the lock on it is free.
#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace causeway::cli {

class RecordingDirectory {
 public:
  explicit RecordingDirectory(const std::string& keep);
  ~RecordingDirectory();
  RecordingDirectory(const RecordingDirectory&) = delete;
  RecordingDirectory& operator=(const RecordingDirectory&) = delete;
  const std::string& path() const { return path_; }
  const std::string& reason() const { return reason_; }
  // The file system of it is full.
  static bool is_full(const std::string& path);

  // Of a directory that nobody has locked for so long, its owner has died.
  static constexpr int kStaleSeconds = 60;
  static void remove_stale(const std::string& base);

 private:
  std::string use(const std::string& keep);
  bool make_in(const std::string& base, uint64_t room);

  const bool keep_;
  std::string path_, reason_;
  UniqueFd lock_;
};

}  // namespace causeway::cli
