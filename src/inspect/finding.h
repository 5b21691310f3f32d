// What is wrong with an image: a rule, where it is broken, and what a kernel would make of it.
//
//   Findings findings(1000);
//   findings.error("luo.compatible", PhysAddr(0x102000), "\"{}\", want \"luo-v5\": Linux 7.3 panics at boot", name);
//
// Never more than the limit is kept; the rest is counted.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace causeway::inspect {

// A note tells what could not be looked at, and is no problem of the image.
enum class Severity : uint8_t { kNote, kWarning, kError };
const char* name_of(Severity severity);

struct Finding {
  Severity severity = Severity::kError;
  const char* rule = "";  // "room.rule", a stable name
  std::optional<PhysAddr> address;
  std::string text;
};

class Findings {
 public:
  explicit Findings(uint64_t limit) : limit_(limit) {}

  template <typename... Args>
  void error(const char* rule, std::optional<PhysAddr> at, fmt::format_string<Args...> format, Args&&... args) {
    if (admit(Severity::kError)) keep(Severity::kError, rule, at, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warning(const char* rule, std::optional<PhysAddr> at, fmt::format_string<Args...> format, Args&&... args) {
    if (admit(Severity::kWarning))
      keep(Severity::kWarning, rule, at, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void note(const char* rule, std::optional<PhysAddr> at, fmt::format_string<Args...> format, Args&&... args) {
    if (admit(Severity::kNote)) keep(Severity::kNote, rule, at, fmt::format(format, std::forward<Args>(args)...));
  }

  uint64_t count(Severity severity) const { return count_[static_cast<size_t>(severity)]; }
  // Warnings and errors.
  uint64_t problems() const { return count(Severity::kWarning) + count(Severity::kError); }
  uint64_t dropped() const { return dropped_; }
  const std::vector<Finding>& list() const { return list_; }
  // Takes over what was found before.
  void append(const Findings& other);

 private:
  // Counts it; whether there is room to keep it.
  bool admit(Severity severity);
  void keep(Severity severity, const char* rule, std::optional<PhysAddr> at, std::string text) {
    list_.push_back({severity, rule, at, std::move(text)});
  }

  uint64_t limit_;
  uint64_t dropped_ = 0;
  std::array<uint64_t, 3> count_{};
  std::vector<Finding> list_;
};

}  // namespace causeway::inspect
