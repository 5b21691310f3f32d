#include "interpose/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <string_view>

#include "client/raw.h"
#include "interpose/say.h"

namespace causeway::interpose {
namespace {

using client::raw;

constexpr std::string_view kDirectory = "CAUSEWAY_DEPT_DIR=";
constexpr std::string_view kOptions = "CAUSEWAY_DEPT_OPTIONS=";
constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kSelf = "libcauseway-dept";

unsigned number_of(std::string_view text) {
  unsigned number = 0;
  for (char c : text) {
    if (c < '0' || c > '9') break;
    number = number * 10 + static_cast<unsigned>(c - '0');
  }
  return number;
}

}  // namespace

void Environment::read(char** variables) {
  for (char** at = variables; at != nullptr && *at != nullptr; ++at) {
    const std::string_view variable(*at);
    if (variable.starts_with(kDirectory)) {
      const std::string_view directory = variable.substr(kDirectory.size());
      if (directory.size() < sizeof directory_ - 64) std::copy(directory.begin(), directory.end(), directory_);
    } else if (variable.starts_with(kOptions)) {
      std::string_view rest = variable.substr(kOptions.size());
      while (!rest.empty()) {
        const size_t end = std::min(rest.find_first_of(" ,"), rest.size());
        const std::string_view word = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        const size_t equals = std::min(word.find('='), word.size());
        if (!word.empty()) option(word.substr(0, equals), word.substr(std::min(equals + 1, word.size())));
      }
    }
  }
}

void Environment::option(std::string_view name, std::string_view value) {
  if (name == "timeouts") {
    settings_.timeouts = number_of(value) != 0;
    settings_.judge.timeouts = settings_.timeouts;
  } else if (name == "noise_us") {
    settings_.noise_us = number_of(value);
  } else if (name == "rwlock") {
    settings_.queued_readers = value == "strict";
  } else if (name == "predict") {
    settings_.predict = number_of(value) != 0;
  } else if (name == "full_stacks") {
    settings_.full_stacks = number_of(value) != 0;
  } else if (name == "single_thread") {
    settings_.judge.threads = number_of(value) == 0;
  } else if (name == "follow") {
    follows_ = number_of(value) != 0;
  } else {
    say("CAUSEWAY_DEPT_OPTIONS: no such option: ", name);
  }
}

int Environment::create_arena_file() const {
  const long pid = raw(SYS_getpid);
  for (int n = 0; n < 1000; ++n) {
    Line path;
    path << directory_ << "/" << int64_t{pid};
    if (n != 0) path << "." << n;
    path << ".dept";
    const long fd = raw(SYS_openat, AT_FDCWD, path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd == -EEXIST || fd == -EINTR) continue;
    if (fd < 0) say("cannot create ", path.view(), ": ", strerrorname_np(static_cast<int>(-fd)), "; nothing of this process is told");
    return static_cast<int>(fd);
  }
  return -EEXIST;
}

void Environment::forget_us(char** variables) {
  for (char** at = variables; at != nullptr && *at != nullptr; ++at) {
    if (!std::string_view(*at).starts_with(kPreload)) continue;
    // In place: what is left of the list is never longer.
    char* to = *at + kPreload.size();
    std::string_view rest(to);
    bool is_first = true;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find_first_of(" :"), rest.size());
      const std::string_view library = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (library.empty() || library.find(kSelf) != std::string_view::npos) continue;
      if (!is_first) *to++ = ':';
      is_first = false;
      to = std::copy(library.begin(), library.end(), to);
    }
    *to = '\0';
  }
}

}  // namespace causeway::interpose
