#include "cli/recording_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include <cstdlib>
#include <filesystem>

#include "cli/programs.h"

namespace causeway::cli {
namespace {

// Room that a file in memory must have: a recording that meets the end of it takes its program down.
constexpr uint64_t kMinRoom = 512u << 20;
constexpr const char* kPrefix = "causeway-dept-";

bool has_room(const std::string& base) {
  struct statvfs room{};
  return ::statvfs(base.c_str(), &room) == 0 && uint64_t{room.f_bavail} * room.f_frsize >= kMinRoom;
}

UniqueFd locked(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) fd.reset();
  return fd;
}

}  // namespace

RecordingDirectory::RecordingDirectory(const std::string& keep) : keep_(!keep.empty()) {
  if (keep_) {
    std::error_code error;
    std::filesystem::create_directories(keep, error);
    if (!error) path_ = absolute_path(keep);
    else errno = error.value();
    return;
  }
  if (has_room("/dev/shm") && make_in("/dev/shm")) return;
  const char* wanted = std::getenv("TMPDIR");
  if (wanted != nullptr && *wanted != '\0' && make_in(absolute_path(wanted))) return;
  make_in("/tmp");
}

RecordingDirectory::~RecordingDirectory() {
  std::error_code error;
  if (!keep_ && !path_.empty()) std::filesystem::remove_all(path_, error);
}

bool RecordingDirectory::make_in(const std::string& base) {
  remove_stale(base);
  std::string name = base + "/" + kPrefix + "XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return false;
  path_ = name;
  lock_ = locked(path_);
  return true;
}

void RecordingDirectory::remove_stale(const std::string& base) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(base, error)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    struct stat status{};
    if (::lstat(entry.path().c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) continue;
    // One that is new may be locked in a moment.
    if (::time(nullptr) - status.st_mtime < kStaleSeconds) continue;
    std::error_code ignored;
    if (const UniqueFd lock = locked(entry.path())) std::filesystem::remove_all(entry.path(), ignored);
  }
}

}  // namespace causeway::cli
