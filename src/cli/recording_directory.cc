#include "cli/recording_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/programs.h"

namespace causeway::cli {
namespace {

// Free bytes that a place must have: in memory, where a large recording takes from others, and at all.
constexpr uint64_t kRoomInMemory = 512u << 20, kLeastRoom = 64u << 20;
constexpr const char* kPrefix = "causeway-dept-";

// Of a place that cannot be asked, as much as anybody wants.
uint64_t room_in(const std::string& base) {
  struct statvfs room{};
  return ::statvfs(base.c_str(), &room) == 0 ? uint64_t{room.f_bavail} * room.f_frsize : UINT64_MAX;
}

bool has_recordings(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error))
    if (entry.path().extension() == ".dept") return true;
  return false;
}

UniqueFd locked(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) fd.reset();
  return fd;
}

}  // namespace

RecordingDirectory::RecordingDirectory(const std::string& keep) : keep_(!keep.empty()) {
  if (keep_) {
    reason_ = use(keep);
    if (reason_.empty()) path_ = absolute_path(keep);
    return;
  }
  if (make_in("/dev/shm", kRoomInMemory)) return;
  const char* wanted = std::getenv("TMPDIR");
  if (wanted != nullptr && *wanted != '\0' && make_in(absolute_path(wanted), kLeastRoom)) return;
  if (make_in("/tmp", kLeastRoom)) return;
  reason_ = fmt::format("neither /dev/shm, $TMPDIR nor /tmp can be written to and has {} MiB to spare: name a directory with --keep",
                        kLeastRoom >> 20);
}

// "", or why it cannot be used.
std::string RecordingDirectory::use(const std::string& keep) {
  std::error_code error;
  std::filesystem::create_directories(keep, error);
  if (error) return fmt::format("cannot make the directory '{}': {}", keep, error.message());
  if (const uint64_t room = room_in(keep); room < kLeastRoom)
    return fmt::format("'{}' has {} MiB to spare, want {}: a program dies when its recording finds no more room", keep, room >> 20,
                       kLeastRoom >> 20);
  if (::access(keep.c_str(), W_OK | X_OK) != 0) return fmt::format("cannot write to '{}': {}", keep, std::strerror(errno));
  if (has_recordings(keep))
    return fmt::format("'{}' has the recordings of an earlier run, which would be told again: name a new directory", keep);
  return "";
}

bool RecordingDirectory::is_full(const std::string& path) { return room_in(path) < (64u << 10); }

RecordingDirectory::~RecordingDirectory() {
  std::error_code error;
  if (!keep_ && !path_.empty()) std::filesystem::remove_all(path_, error);
}

bool RecordingDirectory::make_in(const std::string& base, uint64_t room) {
  remove_stale(base);
  if (room_in(base) < room) return false;
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
