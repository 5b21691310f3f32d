#include "cli/demo_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/iommu_verdict.h"

namespace causeway::cli {
namespace {

double ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

std::string count(size_t number, const char* noun) { return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s"); }

// Counters that every generation starts anew, over all of them.
struct Sums {
  uint64_t leaked_pages = 0;
  uint64_t pressure_rounds = 0;
  uint64_t pressure_damaged = 0;
  Snapshot last;  // whatever was seen last: its work carries that of the generations before
};

Sums add_up(const DemoRun& run) {
  Sums sums;
  run.for_each_generation([&](const Snapshot& at_end) {
    sums.leaked_pages += at_end.leaked_pages();
    sums.pressure_rounds += at_end.status.pressure_rounds;
    sums.pressure_damaged += at_end.status.pressure_damaged;
    sums.last = at_end;
  });
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
    auto [over, under] = run.workload->heading();
    line("{:>6}  {:<27}  {:>8}  {:^34}  {}  {:^24}", "", "", "blackout", "transfers completed", over, "pages");
    line("{:>6}  {:<27}  {:>8}  {:>10}  {:>10}  {:>10}  {}  {:>9} {:>8} {:>6}", "update", "kernel", "ms", "before",
         "during", "after", under, "preserved", "restored", "leaked");
  }
  for (size_t i = 0; i < run.updates.size(); ++i) {
    const DemoUpdate& update = run.updates[i];
    Work work = run.workload->work(update.end);
    line("{:>6}  {:<27}  {:>8.2f}  {:>10}  {:>10}  {:>10}  {}  {:>9} {:>8} {:>6}", i + 1,
         update.before.status.release + " -> " + update.after.status.release, ms(work.blackout_ns),
         work.completed_before, work.completed_during, work.completed_after, run.workload->columns(update.end),
         update.end.status.kho.incoming_pages, update.end.status.kho.restored_pages, update.end.leaked_pages());
  }
  Sums sums = add_up(run);
  line("");
  for (const std::string& text_line : run.workload->summary(run, sums.last)) line("{}", text_line);
  for (const std::string& text_line : iommu_summary(run)) line("{}", text_line);
  if (run.disk)
    line("disk       {:.1f} MB, sha256 {}{}", static_cast<double>(run.disk->bytes) / 1e6, run.disk->sha256,
         run.disk->sha256 == run.disk->expected ? " as it has to be" : "");
  line("memory     {} rounds of memory pressure, {} blocks damaged, {} pages leaked", sums.pressure_rounds,
       sums.pressure_damaged, sums.leaked_pages);
  for (const std::string& problem : problems) line("problem: {}", problem);
  if (problems.empty()) {
    line("ok: {}, no transfer lost, refused or corrupted, the device never stopped",
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
    Work work = run.workload->work(update.end);
    updates.push_back({
        {"number", i + 1},
        {"from", update.before.status.release},
        {"to", update.after.status.release},
        {"from_build_id", update.before.build_id},
        {"to_build_id", update.after.build_id},
        {"boot_ms", ms(update.after.status.boot_ns)},
        {"blackout_ms", ms(work.blackout_ns)},
        {"completed_before", work.completed_before},
        {"completed_during", work.completed_during},
        {"completed_after", work.completed_after},
        {"pages_preserved", update.end.status.kho.incoming_pages},
        {"pages_restored", update.end.status.kho.restored_pages},
        {"pages_leaked", update.end.leaked_pages()},
    });
    run.workload->add_update_json(update.end, updates.back());
  }
  Sums sums = add_up(run);
  nlohmann::json report = {
      {"ok", problems.empty()},
      {"workload", run.workload->name()},
      {"seconds", run.seconds},
      {"updates", updates},
      {"bytes_verified", run.workload->work(sums.last).bytes},
      {"pressure_rounds", sums.pressure_rounds},
      {"pressure_damaged", sums.pressure_damaged},
      {"pages_leaked", sums.leaked_pages},
      {"problems", problems},
  };
  run.workload->add_json(run, sums.last, report);
  if (run.iommu_mode != IommuMode::kOff) report["iommu"] = iommu_json(run);
  if (run.disk)
    report["disk"] = {{"bytes", run.disk->bytes}, {"sha256", run.disk->sha256}, {"expected", run.disk->expected}};
  return report;
}

}  // namespace causeway::cli
