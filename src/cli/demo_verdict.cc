#include "cli/demo_verdict.h"

#include <fmt/format.h>

#include <algorithm>

namespace causeway::cli {
namespace {

class Verdict {
 public:
  explicit Verdict(const DemoRun& run) : run_(run) {}

  std::vector<std::string> reach() {
    for (const std::string& failure : run_.failures) add(failure);
    if (!run_.machine_alive && run_.first) add("the machine died");
    check_every_generation();  // causes first, then what follows from them
    check_updates();
    check_end();
    return std::move(problems_);
  }

 private:
  // The same thing said by several generations is said once, by the first.
  void add(std::string problem) {
    if (std::find(problems_.begin(), problems_.end(), problem) == problems_.end())
      problems_.push_back(std::move(problem));
  }

  void check_updates() {
    if (run_.updates.size() != run_.wanted_updates)
      add(fmt::format("live updates done: {}, want {}", run_.updates.size(), run_.wanted_updates));
    for (size_t i = 0; i < run_.updates.size(); ++i) check_update(i + 1, run_.updates[i]);
  }

  void check_update(size_t number, const DemoUpdate& update) {
    const kernel::KernelStatus& old_kernel = update.before.status;
    const kernel::KernelStatus& new_kernel = update.after.status;
    auto say = [&](std::string text) { add(fmt::format("update {}: {}", number, text)); };
    if (old_kernel.release == new_kernel.release)
      say(fmt::format("release {} runs again, want another one", new_kernel.release));
    if (update.before.build_id == update.after.build_id)
      say(fmt::format("build id '{}' runs again, want another one", update.after.build_id));
    if (new_kernel.boot != kernel::BootKind::kKexec)
      say(fmt::format("boot was '{}', want '{}'", kernel::name_of(new_kernel.boot),
                      kernel::name_of(kernel::BootKind::kKexec)));
    if (!update.after.total().adopted) say("the device was not adopted from the old kernel");
    if (!update.after.working()) say("no record was consumed by the new kernel");
    if (update.end.total().completed_during == 0) say("transfers completed in the blackout: 0, want more");
  }

  // What may happen in no generation. The counters of a generation are at their highest at its end.
  void check_every_generation() {
    if (!run_.updates.empty()) check_generation(run_.updates.front().before);
    for (const DemoUpdate& update : run_.updates) check_generation(update.end);
    if (run_.last) check_generation(*run_.last);
    if (run_.later) check_generation(*run_.later);
  }

  void check_generation(const Snapshot& snapshot) {
    const kernel::KernelStatus& status = snapshot.status;
    const drivers::DmaEngineStats total = snapshot.total();
    if (status.engines.empty()) {
      add(fmt::format("generation {} drives no device, want 1 or more", status.generation));
    } else {
      check_epoch(total);
    }
    for (const std::string& error : status.driver_errors)
      add(fmt::format("generation {}: driver error: {}", status.generation, error));
    none("records lost", total.lost, &most_lost_, status);
    none("records corrupted", total.corrupted, &most_corrupted_, status);
    none("records replayed", total.replayed, &most_replayed_, status);
    none("transfers refused", std::max(total.refused, total.device_refused), &most_refused_, status);
    none("records dropped by the device", total.device_dropped, &most_dropped_, status);
    // The device's gap may be its own pacing and lateness; what makes it wait for us has a counter of its own.
    none("nanoseconds the device waited for a buffer", total.device_starved_ns, &most_starved_, status);
    none("work descriptors failed", total.work_failed, &most_work_failed_, status);
    none("blocks of allocated memory overwritten by somebody else", status.pressure_damaged, &most_damaged_, status);
    none("bad pages", status.pages.bad_pages, &most_bad_pages_, status);
    none("failed restores", status.kho.failed_restores, &most_failed_restores_, status);
    none("pages leaked", snapshot.leaked_pages(), &most_leaked_, status);
    none("preserved pages that nobody restored", snapshot.unrestored_pages(), &most_unrestored_, status);
    for (const std::string& problem : status.problems)
      add(fmt::format("generation {}: {}", status.generation, problem));
  }

  void check_epoch(const drivers::DmaEngineStats& total) {
    if (total.device_epoch != total.expected_epoch) {
      add(fmt::format("stream reset: device epoch {}, want {}", total.device_epoch, total.expected_epoch));
    } else if (run_.first && total.device_epoch != run_.first->total().device_epoch) {
      add(fmt::format("stream reset: device epoch {}, want the first kernel's {}", total.device_epoch,
                      run_.first->total().device_epoch));
    }
  }

  // Reports a count that must be 0 when it first appears; some are carried from one generation to the next.
  void none(const char* what, uint64_t seen, uint64_t* reported, const kernel::KernelStatus& status) {
    if (seen > 0 && *reported == 0)
      add(fmt::format("{}: {} in generation {} ({}), want 0", what, seen, status.generation, status.release));
    *reported = std::max(*reported, seen);
  }

  void check_end() {
    if (!run_.first) return;
    if (!run_.last || !run_.later) {
      if (run_.failures.empty()) add("the kernel died before the end");
      return;
    }
    uint32_t want = run_.wanted_updates + 1;
    if (run_.last->status.generation != want)
      add(fmt::format("generations: {}, want {}", run_.last->status.generation, want));
    uint64_t last = run_.last->total().records;
    uint64_t later = run_.later->total().records;
    if (later <= last) add(fmt::format("the stream stands still at record {}, want more", later));
    if (run_.later->status.pressure_rounds == 0) add("rounds of memory pressure: 0, want more");
  }

  const DemoRun& run_;
  std::vector<std::string> problems_;
  uint64_t most_lost_ = 0, most_corrupted_ = 0, most_replayed_ = 0, most_refused_ = 0;
  uint64_t most_dropped_ = 0, most_starved_ = 0;
  uint64_t most_work_failed_ = 0, most_damaged_ = 0, most_bad_pages_ = 0, most_failed_restores_ = 0;
  uint64_t most_leaked_ = 0, most_unrestored_ = 0;
};

}  // namespace

std::vector<std::string> find_problems(const DemoRun& run) { return Verdict(run).reach(); }

}  // namespace causeway::cli
