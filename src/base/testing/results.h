// What the tests of every room say to a Result, and to a named point.
//
//   auto session = must(orchestrator.create_session("vm"));        // ends the program if it fails
//   EXPECT_EQ(error_of(orchestrator.create_session("vm")), EEXIST);
//   FailingStep step("luo.file.preserve.alloc");                   // that step fails while it lives
#pragma once

#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "base/point.h"
#include "base/result.h"

namespace causeway {

template <typename T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "unexpected: %s\n", to_string(result.error()).c_str());
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// 0 for success.
template <typename T>
int error_of(const Result<T>& result) {
  return result ? 0 : static_cast<int>(result.error().code);
}

// Named points are compiled in.
inline bool has_points() { return !point::list().empty(); }

// Makes the step at a named point fail while it lives.
class FailingStep {
 public:
  explicit FailingStep(const char* name, int code = ENOMEM, unsigned from_hit = 1) {
    must(point::on_hit(name, [this, code, from_hit]() -> Status {
      if (++hits_ < from_hit) return {};
      return fail(code, "made to fail");
    }));
  }
  ~FailingStep() { point::disarm_all(); }
  FailingStep(const FailingStep&) = delete;
  FailingStep& operator=(const FailingStep&) = delete;
  unsigned hits() const { return hits_; }

 private:
  unsigned hits_ = 0;
};

}  // namespace causeway
