// Named points: every step worth interrupting has a name that a test can list, and at which it can
// kill the process, fail the step, pause, or run a callback.
//
//   Status Kho::preserve(...) {
//     CW_FAIL_POINT("kho.preserve.alloc_node");   // can return an error here
//     ...
//     CW_POINT("kho.preserve.after_node");        // can only observe, pause or die here
//   }
//
//   $ causeway-kernel --point kho.preserve.after_node=kill        # SIGKILL on the first hit
//   $ causeway-kernel --point kho.preserve.alloc_node=fail:3      # ENOMEM on the third hit
//   $ causeway-kernel --point kho.preserve.after_node=pause       # sleeps until killed
//
// Compiled in with CW_POINTS (every build but release); in a release build both macros are nothing.
// Names are "room.step.moment" and unique in the program. Not for headers or templates: a point is a
// static object in the linker section `cw_points`, which is how points can be listed before they are hit.
#pragma once

#include <atomic>
#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::point {

enum class Kind : uint8_t { kObserve, kFailable };

struct Point {
  const char* name;
  Kind kind;
  std::atomic<bool> armed{false};
};
// The points of a program are read as one array: the compiler must not pad between two of them.
static_assert(sizeof(Point) == 16);

// Every point linked into this program, by name.
std::vector<const Point*> list();

// Parses "NAME=ACTION[:N]"; ACTION is kill, fail or pause, N the hit at which it happens (default 1).
// EINVAL for anything else, ENOENT for an unknown name, EOPNOTSUPP in a build without points.
Status arm(std::string_view spec);

// Runs `callback` at every hit of `name`; at a failable point an error it returns is the step's error.
Status on_hit(std::string_view name, std::function<Status()> callback);
void disarm_all();

// The slow path of the macros. Not for direct use.
Status hit(Point& point);

}  // namespace causeway::point

#if CW_POINTS
#define CW_DETAIL_POINT(point_name, point_kind)                                     \
  static ::causeway::point::Point cw_point_ __attribute__((section("cw_points"), used)) { \
    point_name, point_kind                                                          \
  }
#define CW_POINT(point_name)                                                        \
  do {                                                                              \
    CW_DETAIL_POINT(point_name, ::causeway::point::Kind::kObserve);                 \
    if (cw_point_.armed.load(std::memory_order_relaxed)) [[unlikely]]               \
      (void)::causeway::point::hit(cw_point_);                                      \
  } while (0)
#define CW_FAIL_POINT(point_name)                                                   \
  do {                                                                              \
    CW_DETAIL_POINT(point_name, ::causeway::point::Kind::kFailable);                \
    if (cw_point_.armed.load(std::memory_order_relaxed)) [[unlikely]]               \
      CW_TRY(::causeway::point::hit(cw_point_));                                    \
  } while (0)
#else
#define CW_POINT(point_name) ((void)0)
#define CW_FAIL_POINT(point_name) ((void)0)
#endif
