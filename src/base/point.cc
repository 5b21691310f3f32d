#include "base/point.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "base/log.h"

extern "C" {
// Made by the linker when the section exists; weak, because a release build has no points.
extern causeway::point::Point __start_cw_points[] __attribute__((weak));
extern causeway::point::Point __stop_cw_points[] __attribute__((weak));
}

namespace causeway::point {
namespace {

enum class Action : uint8_t { kKill, kFail, kPause, kCall };

struct Plan {
  Action action;
  uint64_t at_hit = 1;  // ignored by kCall
  uint64_t hits = 0;
  std::function<Status()> callback;
};

std::mutex g_mutex;
std::map<const Point*, Plan>& plans() {
  static std::map<const Point*, Plan> map;
  return map;
}

Point* find(std::string_view name) {
  // Points of one section may be padded by the linker; they are all of one type and alignment here.
  for (Point* point = __start_cw_points; point != __stop_cw_points; ++point) {
    if (name == point->name) return point;
  }
  return nullptr;
}

Status arm(std::string_view name, Plan plan) {
  if (&__start_cw_points[0] == &__stop_cw_points[0]) return fail(EOPNOTSUPP, "this build has no named points");
  Point* point = find(name);
  if (point == nullptr) return fail(ENOENT, "no such named point");
  if (plan.action == Action::kFail && point->kind != Kind::kFailable)
    return fail(EINVAL, "this named point cannot fail, only kill or pause");
  std::lock_guard lock(g_mutex);
  plans()[point] = std::move(plan);
  point->armed.store(true, std::memory_order_relaxed);
  return {};
}

}  // namespace

std::vector<const Point*> list() {
  std::vector<const Point*> points;
  for (Point* point = __start_cw_points; point != __stop_cw_points; ++point) points.push_back(point);
  std::sort(points.begin(), points.end(),
            [](const Point* a, const Point* b) { return std::strcmp(a->name, b->name) < 0; });
  return points;
}

Status arm(std::string_view spec) {
  auto equals = spec.find('=');
  if (equals == std::string_view::npos) return fail(EINVAL, "want NAME=kill|fail|pause[:N]");
  std::string_view action = spec.substr(equals + 1);
  Plan plan{};
  if (auto colon = action.find(':'); colon != std::string_view::npos) {
    std::string_view number = action.substr(colon + 1);
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), plan.at_hit);
    if (error != std::errc{} || end != number.data() + number.size() || plan.at_hit == 0)
      return fail(EINVAL, "the hit count after ':' is not a positive number");
    action = action.substr(0, colon);
  }
  if (action == "kill") {
    plan.action = Action::kKill;
  } else if (action == "fail") {
    plan.action = Action::kFail;
  } else if (action == "pause") {
    plan.action = Action::kPause;
  } else {
    return fail(EINVAL, "the action is not one of kill, fail, pause");
  }
  return arm(spec.substr(0, equals), std::move(plan));
}

Status on_hit(std::string_view name, std::function<Status()> callback) {
  return arm(name, Plan{Action::kCall, 1, 0, std::move(callback)});
}

void disarm_all() {
  std::lock_guard lock(g_mutex);
  for (Point* point = __start_cw_points; point != __stop_cw_points; ++point)
    point->armed.store(false, std::memory_order_relaxed);
  plans().clear();
}

Status hit(Point& point) {
  Action action;
  std::function<Status()> callback;
  {
    std::lock_guard lock(g_mutex);
    auto it = plans().find(&point);
    if (it == plans().end()) return {};
    Plan& plan = it->second;
    ++plan.hits;
    if (plan.action != Action::kCall && plan.hits != plan.at_hit) return {};
    action = plan.action;
    callback = plan.callback;
  }
  switch (action) {
    case Action::kCall: return callback();
    case Action::kFail: return fail(ENOMEM, "failed on request at a named point");
    case Action::kPause:
      log::info("point", "paused at {}", point.name);
      while (true) ::pause();
    case Action::kKill:
      log::info("point", "killed at {}", point.name);
      ::kill(::getpid(), SIGKILL);
      while (true) ::pause();  // the signal is on its way
  }
  return {};
}

}  // namespace causeway::point
