#include "cli/demo_verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "cli/iommu_verdict.h"

namespace causeway::cli {
namespace {

class Verdict {
 public:
  explicit Verdict(const DemoRun& run) : run_(run) {}

  std::vector<std::string> reach() {
    for (const std::string& failure : run_.failures) add(failure);
    if (!run_.machine_alive && run_.first) add("the machine died");
    for (std::string& problem : find_iommu_problems(run_)) add(std::move(problem));
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
    uint64_t during = 0;
    for (size_t i = 0; i < run_.updates.size(); ++i) {
      check_update(i + 1, run_.updates[i]);
      during += work(run_.updates[i].end).completed_during;
    }
    if (!run_.workload->is_steady() && !run_.updates.empty() && during == 0)
      add("transfers completed in all blackouts together: 0, want more");
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
    if (!work(update.after).adopted) say("the device was not adopted from the old kernel");
    if (!update.after.working()) say(fmt::format("no {} were consumed by the new kernel", run_.workload->unit()));
    if (run_.workload->is_steady() && work(update.end).completed_during == 0)
      say("transfers completed in the blackout: 0, want more");
  }

  Work work(const Snapshot& snapshot) const { return run_.workload->work(snapshot); }

  // What may happen in no generation. The counters of a generation are at their highest at its end.
  void check_every_generation() {
    if (!run_.updates.empty()) check_generation(run_.updates.front().before);
    for (const DemoUpdate& update : run_.updates) check_generation(update.end);
    if (run_.last) check_generation(*run_.last);
    if (run_.later) check_generation(*run_.later);
  }

  void check_generation(const Snapshot& snapshot) {
    const kernel::KernelStatus& status = snapshot.status;
    if (work(snapshot).devices == 0) {
      add(fmt::format("generation {} drives no device, want 1 or more", status.generation));
    } else {
      check_resets(snapshot);
    }
    for (const std::string& error : status.driver_errors)
      add(fmt::format("generation {}: driver error: {}", status.generation, error));
    for (const auto& [what, seen] : run_.workload->must_be_none(snapshot)) none(what, seen, status);
    none("blocks of allocated memory overwritten by somebody else", status.pressure_damaged, status);
    none("bad pages", status.pages.bad_pages, status);
    none("failed restores", status.kho.failed_restores, status);
    none("pages leaked", snapshot.leaked_pages(), status);
    none("preserved pages that nobody restored", snapshot.unrestored_pages(), status);
    for (const std::string& problem : status.problems)
      add(fmt::format("generation {}: {}", status.generation, problem));
  }

  void check_resets(const Snapshot& snapshot) {
    Work now = work(snapshot);
    if (now.resets != now.expected_resets) {
      add(fmt::format("device reset: device epoch {}, want {}", now.resets, now.expected_resets));
    } else if (run_.resets(snapshot) != 0) {
      add(fmt::format("device reset: device epoch {}, want the first kernel's {}", now.resets, work(*run_.first).resets));
    }
  }

  // Reports a count that must be 0 when it first appears; some are carried from one generation to the next.
  void none(const char* what, uint64_t seen, const kernel::KernelStatus& status) {
    if (seen > 0 && reported_.insert(what).second)
      add(fmt::format("{}: {} in generation {} ({}), want 0", what, seen, status.generation, status.release));
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
    uint64_t later = work(*run_.later).done;
    if (later <= work(*run_.last).done)
      add(fmt::format("the device stands still at {} {}, want more", later, run_.workload->unit()));
    if (run_.later->status.pressure_rounds == 0) add("rounds of memory pressure: 0, want more");
    if (run_.disk && run_.disk->sha256 != run_.disk->expected)
      add(fmt::format("the disk's sha256 is {}, want {}", run_.disk->sha256, run_.disk->expected));
  }

  const DemoRun& run_;
  std::vector<std::string> problems_;
  std::set<std::string_view> reported_;
};

}  // namespace

std::vector<std::string> find_problems(const DemoRun& run) { return Verdict(run).reach(); }

}  // namespace causeway::cli
