#include "cli/demo_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace causeway::cli {
namespace {

double ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

std::string count(size_t number, const char* noun) { return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s"); }

// Counters that every generation starts anew, over all of them.
struct Sums {
  uint64_t leaked_pages = 0;
  uint64_t pressure_rounds = 0;
  uint64_t pressure_damaged = 0;
  uint64_t recycled = 0;
  drivers::DmaEngineStats stream;  // of the last generation: it carries the others' counts
  uint32_t resets = 0;
};

Sums add_up(const DemoRun& run) {
  Sums sums;
  auto add = [&](const Snapshot& at_end) {
    sums.leaked_pages += at_end.leaked_pages();
    sums.pressure_rounds += at_end.status.pressure_rounds;
    sums.pressure_damaged += at_end.status.pressure_damaged;
    sums.recycled += at_end.total().recycled;
    sums.stream = at_end.total();
  };
  for (const DemoUpdate& update : run.updates) add(update.before);
  if (run.later) {
    add(*run.later);
  } else if (!run.updates.empty()) {
    add(run.updates.back().end);
  }
  if (run.first) {
    uint32_t before = run.first->total().device_epoch;
    sums.resets = sums.stream.device_epoch - std::min(sums.stream.device_epoch, before);
  }
  return sums;
}

}  // namespace

std::string demo_text(const DemoRun& run, const std::vector<std::string>& problems) {
  std::string text;
  auto line = [&]<typename... Args>(fmt::format_string<Args...> format, Args&&... args) {
    text += fmt::format(format, std::forward<Args>(args)...);
    text += '\n';
  };
  if (!run.updates.empty()) {
    line("{:>6}  {:<27}  {:>8}  {:^34}  {:^15}  {:^24}", "", "", "blackout", "transfers completed", "device gap ms",
         "pages");
    line("{:>6}  {:<27}  {:>8}  {:>10}  {:>10}  {:>10}  {:>7} {:>7}  {:>9} {:>8} {:>6}", "update", "kernel", "ms",
         "before", "during", "after", "longest", "(late)", "preserved", "restored", "leaked");
  }
  for (size_t i = 0; i < run.updates.size(); ++i) {
    const DemoUpdate& update = run.updates[i];
    drivers::DmaEngineStats total = update.end.total();
    line("{:>6}  {:<27}  {:>8.2f}  {:>10}  {:>10}  {:>10}  {:>7.2f} {:>7.2f}  {:>9} {:>8} {:>6}", i + 1,
         update.before.status.release + " -> " + update.after.status.release, ms(total.blackout_ns),
         total.completed_before, total.completed_during, total.completed_after, ms(total.device_max_gap_ns),
         ms(total.device_max_late_ns), update.end.status.kho.incoming_pages, update.end.status.kho.restored_pages,
         update.end.leaked_pages());
  }
  Sums sums = add_up(run);
  const drivers::DmaEngineStats& stream = sums.stream;
  line("");
  line("stream     {} records, {:.1f} MB verified in {:.1f} s, {} device resets", stream.records,
       static_cast<double>(stream.bytes) / 1e6, run.seconds, sums.resets);
  line("records    lost {}, corrupted {}, refused {}, replayed {}, dropped {}", stream.lost, stream.corrupted,
       std::max(stream.refused, stream.device_refused), stream.replayed, stream.device_dropped);
  line("memory     {} rounds of memory pressure, {} blocks damaged, {} buffers recycled, {} pages leaked",
       sums.pressure_rounds, sums.pressure_damaged, sums.recycled, sums.leaked_pages);
  for (const std::string& problem : problems) line("problem: {}", problem);
  if (problems.empty()) {
    line("ok: {}, no transfer lost, refused or corrupted, the stream never stopped",
         count(run.updates.size(), "live update"));
  } else {
    line("failed: {}", count(problems.size(), "problem"));
  }
  return text;
}

nlohmann::json demo_json(const DemoRun& run, const std::vector<std::string>& problems) {
  nlohmann::json updates = nlohmann::json::array();
  for (size_t i = 0; i < run.updates.size(); ++i) {
    const DemoUpdate& update = run.updates[i];
    drivers::DmaEngineStats total = update.end.total();
    updates.push_back({
        {"number", i + 1},
        {"from", update.before.status.release},
        {"to", update.after.status.release},
        {"from_build_id", update.before.build_id},
        {"to_build_id", update.after.build_id},
        {"boot_ms", ms(update.after.status.boot_ns)},
        {"blackout_ms", ms(total.blackout_ns)},
        {"completed_before", total.completed_before},
        {"completed_during", total.completed_during},
        {"completed_after", total.completed_after},
        {"device_max_gap_ms", ms(total.device_max_gap_ns)},
        {"device_max_late_ms", ms(total.device_max_late_ns)},
        {"pages_preserved", update.end.status.kho.incoming_pages},
        {"pages_restored", update.end.status.kho.restored_pages},
        {"pages_leaked", update.end.leaked_pages()},
    });
  }
  Sums sums = add_up(run);
  const drivers::DmaEngineStats& stream = sums.stream;
  return {
      {"ok", problems.empty()},
      {"seconds", run.seconds},
      {"updates", updates},
      {"records", stream.records},
      {"bytes_verified", stream.bytes},
      {"lost", stream.lost},
      {"corrupted", stream.corrupted},
      {"refused", std::max(stream.refused, stream.device_refused)},
      {"replayed", stream.replayed},
      {"dropped", stream.device_dropped},
      {"stream_resets", sums.resets},
      {"pressure_rounds", sums.pressure_rounds},
      {"pressure_damaged", sums.pressure_damaged},
      {"buffers_recycled", sums.recycled},
      {"pages_leaked", sums.leaked_pages},
      {"problems", problems},
  };
}

}  // namespace causeway::cli
