// The log: one line per event, with a level, the room it comes from and a monotonic time stamp.
//
//   log::info("kho", "restored {} of {} pages", done, total);
//   log::warn("mm", "bad page {}: refcount {}, want 0", pfn, count);
//
// Lines go to a sink; the default one writes "[   12.345678] kho: restored ..." to stderr at `info`
// and above. Messages start lower-case, have no full stop, give the value seen and the value wanted.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <mutex>

namespace causeway::log {

enum class Level : uint8_t { kDebug, kInfo, kWarn, kError };
const char* name_of(Level level);

struct Record {
  Level level;
  std::string_view room;
  std::string_view message;
  uint64_t monotonic_ns;
};

// Called with the log's lock held: must not log. Replaces the sink; an empty function restores the default.
using Sink = std::function<void(const Record&)>;
void set_sink(Sink sink);
// Lines below this level are not even formatted. Default kInfo.
void set_level(Level level);
Level level();

void write(Level level, std::string_view room, std::string_view message);

namespace detail {
void vwrite(Level level, std::string_view room, fmt::string_view format, fmt::format_args args);
}

template <typename... Args>
void debug(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kDebug) detail::vwrite(Level::kDebug, room, format, fmt::make_format_args(args...));
}
template <typename... Args>
void info(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kInfo) detail::vwrite(Level::kInfo, room, format, fmt::make_format_args(args...));
}
template <typename... Args>
void warn(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kWarn) detail::vwrite(Level::kWarn, room, format, fmt::make_format_args(args...));
}
template <typename... Args>
void error(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  detail::vwrite(Level::kError, room, format, fmt::make_format_args(args...));
}

// Collects every line while it lives, for tests: `EXPECT_TRUE(capture.contains("bad page"))`.
class Capture {
 public:
  Capture();
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  bool contains(std::string_view text) const;
  std::vector<std::string> lines() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace causeway::log
