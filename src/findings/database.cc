#include "findings/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "findings/union.h"

namespace causeway::findings {
namespace {

constexpr off_t kMaxSize = off_t{1} << 29;

// The file a link leads to: the link stays.
std::string resolved(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string resolved = real;
  ::free(real);
  return resolved;
}

// Open, and nobody else's until it is closed.
Result<UniqueFd> lock(const std::string& path) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (!fd) return fail_with_errno("cannot open it");
    while (::flock(fd.get(), LOCK_EX) != 0)
      if (errno != EINTR) return fail_with_errno("cannot lock it");
    // Who had it before us has put another in its place.
    struct stat ours{}, there{};
    if (::fstat(fd.get(), &ours) != 0) return fail_with_errno("cannot look at it");
    if (::stat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) return fd;
  }
}

Result<Pasts> read(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_with_errno("cannot look at it");
  if (!S_ISREG(status.st_mode)) return fail(EINVAL, "this is not a plain file: name another");
  if (status.st_size > kMaxSize) return fail(EFBIG, "it is too large: remove it, and begin anew");
  std::string text(static_cast<size_t>(status.st_size), '\0');
  for (size_t at = 0; at < text.size();) {
    const ssize_t length = ::pread(fd, text.data() + at, text.size() - at, static_cast<off_t>(at));
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return fail_with_errno("cannot read it");
    if (length == 0) text.resize(at);
    at += static_cast<size_t>(length);
  }
  if (text.empty()) return Pasts();
  return parse_pasts(text);
}

Status replace(const std::string& path, int old, const std::string& text) {
  std::string fresh = path + ".XXXXXX";
  UniqueFd fd(::mkostemp(fresh.data(), O_CLOEXEC));
  if (!fd) return fail_with_errno("cannot write beside it");
  auto failed = [&](const char* why) {
    const int code = errno;
    ::unlink(fresh.c_str());
    return fail(code, why);
  };
  struct stat status{};
  if (::fstat(old, &status) != 0 || ::fchmod(fd.get(), status.st_mode & 0777) != 0) return failed("cannot write beside it");
  for (size_t at = 0; at < text.size();) {
    const ssize_t length = ::write(fd.get(), text.data() + at, text.size() - at);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return failed("cannot write it");
    at += static_cast<size_t>(length);
  }
  if (::fsync(fd.get()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) return failed("cannot write it");
  return {};
}

}  // namespace

Status Database::check() const {
  const std::string path = resolved(path_);
  UniqueFd fd = CW_TRY(lock(path));
  CW_TRY(read(fd.get()));
  return {};
}

Result<std::vector<Finding>> Database::merge(const std::vector<std::unique_ptr<Recording>>& run, Symbols& symbols,
                                             const dept::Judge& judge) const {
  const std::string path = resolved(path_);
  UniqueFd fd = CW_TRY(lock(path));
  Pasts pasts = CW_TRY(read(fd.get()));
  std::set<std::string> programs;
  bool is_new = false;
  for (const auto& recording : run) {
    const std::string program = Past::program_of(recording->arena);
    if (program.empty()) continue;
    programs.insert(program);
    is_new |= pasts[program].add(recording->arena);
  }
  if (is_new) {
    const std::string text = write_pasts(pasts);
    if (static_cast<off_t>(text.size()) > kMaxSize) return fail(EFBIG, "it would become too large: remove it, and begin anew");
    CW_TRY(replace(path, fd.get(), text));
  }
  std::vector<Finding> found;
  for (const std::string& program : programs) {
    Past& past = pasts[program];
    if (past.runs.size() < 2) continue;
    for (Finding& finding : Union(past, symbols, judge).findings()) found.push_back(std::move(finding));
  }
  return found;
}

}  // namespace causeway::findings
