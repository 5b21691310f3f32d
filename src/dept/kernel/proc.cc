#include "dept/kernel/proc.h"

#include <algorithm>

#include "dept/print.h"
#include "dept/tracker.h"

namespace causeway::dept::kernel {
namespace {

// What the tables after these hold, the tracker finds its way by.
constexpr const char* kTables[] = {"class",  "object", "edge",   "witness", "thread", "thread state", "stack",
                                   "frame",  "string", "module", "report",  "clock",  "waiters"};
static_assert(std::size(kTables) == static_cast<unsigned>(Table::kWaiters) + 1);

void print_class(Printer& out, const Arena& arena, const Class& cls) {
  out.text("[").hex(cls.key + cls.sub).text("] ");
  if ((cls.flags.load(std::memory_order_relaxed) & Class::kBySite) != 0) out.text("<sched> ");
  out.text(cls.name == StringId::kNone ? "(unnamed)" : arena.text(cls.name)).text(":").number(cls.sub).text("\n");
}

}  // namespace

// Edges and classes are added while this runs, and never taken away.
void print_deps(int fd) {
  if (!Tracker::is_on()) return;
  const Arena& arena = Tracker::get().arena();
  Printer out(fd);
  for (uint32_t id = 1; id < arena.used<Class>(); ++id) {
    const Class& cls = arena.at<Class>(ClassId(id));
    if (cls.key == 0) continue;
    print_class(out, arena, cls);
    EdgeId next = EdgeId(cls.first_out.load(std::memory_order_acquire));
    for (uint32_t i = 0; next != EdgeId::kNone && i < arena.used<Edge>(); ++i) {
      const Edge& edge = arena.at<Edge>(next);
      next = edge.next_out;
      if ((edge.flags.load(std::memory_order_relaxed) & Edge::kVoid) != 0) continue;
      print_class(out.text(" -> "), arena, arena.at<Class>(edge.to));
    }
    out.text("\n");
  }
}

void print_stats(int fd) {
  if (!Tracker::is_on()) return;
  const Arena& arena = Tracker::get().arena();
  Printer out(fd);
  for (unsigned i = 0; i < std::size(kTables); ++i) {
    const TableHeader& table = arena.table(static_cast<Table>(i));
    const uint64_t used = arena.used(static_cast<Table>(i)) - 1;  // the first is nobody's
    out.text(kTables[i]).text(": ").number(used).text(" of ").number(table.capacity).text(", ");
    out.number(used * table.stride / 1024).text(" KiB, ");
    out.number(table.dropped.load(std::memory_order_relaxed)).text(" dropped\n");
  }
  for (unsigned i = 0; i < static_cast<unsigned>(Counter::kCount); ++i)
    out.text(name_of(static_cast<Counter>(i))).text(": ").number(arena.counted(static_cast<Counter>(i))).text("\n");
}

}  // namespace causeway::dept::kernel
