#include "base/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "base/clock.h"

namespace causeway::log {
namespace {

std::atomic<Level> g_level{Level::kInfo};

std::mutex& sink_mutex() {
  static std::mutex mutex;
  return mutex;
}
Sink& sink() {
  static Sink current;
  return current;
}

void write_to_stderr(const Record& record) {
  std::string line =
      fmt::format("[{:5}.{:06}] {}: {}{}\n", record.monotonic_ns / 1'000'000'000,
                  record.monotonic_ns / 1000 % 1'000'000, record.room,
                  record.level >= Level::kWarn ? fmt::format("{}: ", name_of(record.level)) : std::string(),
                  record.message);
  // One write per line, so that the lines of several processes do not mix.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

const char* name_of(Level level) {
  switch (level) {
    case Level::kDebug: return "debug";
    case Level::kInfo: return "info";
    case Level::kWarn: return "warning";
    case Level::kError: return "error";
  }
  return "?";
}

void set_sink(Sink new_sink) {
  std::lock_guard lock(sink_mutex());
  sink() = std::move(new_sink);
}
void set_level(Level level) { g_level.store(level, std::memory_order_relaxed); }
Level level() { return g_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view room, std::string_view message) {
  if (level < log::level()) return;
  Record record{level, room, message, monotonic_ns()};
  std::lock_guard lock(sink_mutex());
  if (sink()) {
    sink()(record);
  } else {
    write_to_stderr(record);
  }
}

void detail::vwrite(Level level, std::string_view room, fmt::string_view format, fmt::format_args args) {
  write(level, room, fmt::vformat(format, args));
}

Capture::Capture() {
  set_sink([this](const Record& record) {
    std::lock_guard lock(mutex_);
    lines_.push_back(fmt::format("{} {}: {}", name_of(record.level), record.room, record.message));
  });
}
Capture::~Capture() { set_sink({}); }
bool Capture::contains(std::string_view text) const {
  std::lock_guard lock(mutex_);
  return std::any_of(lines_.begin(), lines_.end(),
                     [&](const std::string& line) { return line.find(text) != std::string::npos; });
}
std::vector<std::string> Capture::lines() const {
  std::lock_guard lock(mutex_);
  return lines_;
}

}  // namespace causeway::log
