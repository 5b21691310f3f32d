// How the graph tells what it has found: each finding once, and again only if it is more certain.
#include <climits>

#include "base/clock.h"
#include "dept/futex.h"
#include "dept/graph.h"
#include "dept/hash.h"

namespace causeway::dept {

// Of the circle's classes, wherever one begins to read, however often one goes round.
uint64_t Graph::id_of(const Hop* hops, unsigned count) const {
  uint64_t keys[kHops];
  for (unsigned i = 0; i < count; ++i) {
    const Class& c = arena_.at<Class>(arena_.at<Edge>(hops[i].edge).from);
    keys[i] = mix(c.key, c.sub);
  }
  unsigned period = 1;
  for (; period < count; ++period) {
    bool repeats = count % period == 0;
    for (unsigned i = period; i < count && repeats; ++i) repeats = keys[i] == keys[i - period];
    if (repeats) break;
  }
  unsigned begin = 0;
  for (unsigned other = 1; other < period; ++other) {
    for (unsigned i = 0; i < period; ++i) {
      const uint64_t a = keys[(begin + i) % period];
      const uint64_t b = keys[(other + i) % period];
      if (a == b) continue;
      if (b < a) begin = other;
      break;
    }
  }
  uint64_t id = mix(kSeed, period);
  for (unsigned i = 0; i < period; ++i) id = mix(id, keys[(begin + i) % period]);
  return id;
}

// The newest report of this id.
Report* Graph::find_report(uint64_t id, ReportId* where) {
  const auto* places = arena_.words<const std::atomic<uint32_t>>(Table::kReportIndex);
  const uint32_t mask = arena_.capacity(Table::kReportIndex) - 1;
  Report* newest = nullptr;
  for (uint32_t i = static_cast<uint32_t>(id);; ++i) {
    const ReportId here{places[i & mask].load(std::memory_order_relaxed)};
    if (here == ReportId::kNone) return newest;
    Report& report = arena_.at<Report>(here);
    if (report.id != id) continue;
    newest = &report;
    if (where != nullptr) *where = here;
  }
}

ReportId Graph::publish(uint64_t id, const Report& given) {
  ReportId older = ReportId::kNone;
  if (const Report* known = find_report(id, &older); known != nullptr && known->level >= given.level) return ReportId::kNone;
  // What cannot happen leaves room for what can.
  if (given.level == Level::kInfo && arena_.used<Report>() > arena_.capacity(Table::kReport) / 2) {
    arena_.table(Table::kReport).dropped.fetch_add(1, std::memory_order_relaxed);
    return ReportId::kNone;
  }
  ReportId where;
  Report* report = arena_.add<Report>(&where);
  if (report == nullptr) return ReportId::kNone;
  report->id = id;
  report->problem = given.problem;
  report->level = given.level;
  report->misuse = given.misuse;
  report->hop_count = given.hop_count;
  report->refutations = given.refutations;
  report->thread = given.thread;
  report->object = given.object;
  report->stack = given.stack;
  report->other_stack = given.other_stack;
  report->time_ns = monotonic_ns();
  report->replaces = older;
  for (unsigned i = 0; i < given.hop_count; ++i) report->hops[i] = given.hops[i];

  auto* places = arena_.words<std::atomic<uint32_t>>(Table::kReportIndex);
  const uint32_t mask = arena_.capacity(Table::kReportIndex) - 1;
  uint32_t i = static_cast<uint32_t>(id);
  while (places[i & mask].load(std::memory_order_relaxed) != 0) ++i;
  places[i & mask].store(index_of(where), std::memory_order_relaxed);

  std::atomic<uint32_t>& newest = arena_.header().reports;
  report->sequence = newest.load(std::memory_order_relaxed) + 1;
  report->published.store(1, std::memory_order_release);
  newest.store(report->sequence, std::memory_order_release);
  futex_wake(newest, INT_MAX, FutexScope::kShared);
  arena_.count(Counter::kReports);
  return where;
}

ReportId Graph::publish_circle(const Verdict& verdict) {
  Report report{};
  report.problem = Problem::kCycle;
  report.level = verdict.level;
  report.refutations = verdict.refutations;
  report.hop_count = static_cast<uint8_t>(verdict.count);
  const Witness& closing = arena_.at<Witness>(verdict.hops[0].witness);
  report.thread = closing.thread;
  report.object = closing.to_object;
  report.stack = closing.wait;
  for (unsigned i = 0; i < verdict.count; ++i) report.hops[i] = verdict.hops[i];
  return publish(id_of(verdict.hops, verdict.count), report);
}

ReportId Graph::report(Problem problem, Misuse misuse, Level level, ThreadId thread, ObjectId object, StackId stack,
                       StackId other_stack) {
  EngineLockGuard hold(lock_);
  const Object& o = arena_.at<Object>(object);
  uint64_t id = mix(mix(kSeed, static_cast<unsigned>(problem)), static_cast<unsigned>(misuse));
  id = mix(id, mix(o.key, o.sub));
  // Of the place only the innermost frame, and as it is called in every run.
  if (const Arena::Frames frames = arena_.frames(stack); frames.depth != 0) id = mix(id, stable_name(frames.frame[0]));
  Report report{};
  report.problem = problem;
  report.level = level;
  report.misuse = misuse;
  report.thread = thread;
  report.object = object;
  report.stack = stack;
  report.other_stack = other_stack;
  return publish(id, report);
}

uint64_t Graph::stable_name(Frame frame) const {
  if (frame.is_source()) return dept::hash_of(arena_.text(frame.source()));
  const Module* module = arena_.module_at(frame.pc());
  return module == nullptr ? frame.pc() : mix(dept::hash_of(arena_.text(module->path)), frame.pc() - module->bias);
}

}  // namespace causeway::dept
