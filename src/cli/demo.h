// The main job, self-contained: a machine of its own streams into memory while its kernel is replaced.
//
//   DemoRun run = run_demo({.seconds = 10, .updates = 5}, progress);
//   auto problems = find_problems(run);      // demo_verdict.h
//   print_table(run, problems);              // demo_report.h
//
// Machine and kernel are children that end with this program, whatever ends it; their sockets have
// abstract names, so nothing is left behind.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/demo_workload.h"
#include "cli/iommu_mode.h"
#include "cli/iommu_seen.h"
#include "cli/progress.h"
#include "cli/sabotage.h"
#include "cli/snapshot.h"

namespace causeway::cli {

struct DemoOptions {
  const Workload* workload = &stream_workload();
  double seconds = 10;
  unsigned updates = 5;
  std::string ram;               // "": the machine's default
  std::optional<uint32_t> rate;  // records per second
  std::optional<uint32_t> ring;  // stream buffers
  uint32_t depth = 32;           // commands in flight (nvme)
  IommuMode iommu = IommuMode::kOff;
  const SabotageMode* sabotage = nullptr;
  bool verbose = false;          // the logs of machine and kernels go to stderr
};

struct DemoUpdate {
  Snapshot before;  // of the old kernel, just before
  Snapshot after;   // of the new one, at its first work
  Snapshot end;     // of the new one, at the end of its time
};

// With an IOMMU a demo has one more DMA engine, at this address, which no kernel hands over: what it does after a live
// update is refused, and that is shown.
inline constexpr const char* kEphemeralDevice = "00:1e.0";

// The machine's IOMMUs while one generation ran.
struct IommuGeneration {
  uint32_t generation = 0;
  MachineIommu start;  // at its first work
  MachineIommu end;    // just before the next one, or at the end
};

// The disk of a demo, after everything that was under way had ended.
struct DiskSeen {
  uint64_t bytes = 0;
  std::string sha256;    // of the file, by sha256sum
  std::string expected;  // of what the driver says it wrote
};

// What was seen. Nothing here says whether it was good.
struct DemoRun {
  const Workload* workload = &stream_workload();
  unsigned wanted_updates = 0;
  double seconds = 0;                   // the stream ran
  std::optional<Snapshot> first;        // of the first kernel
  std::vector<DemoUpdate> updates;      // those that happened
  std::optional<Snapshot> last;         // when the time was over
  std::optional<Snapshot> later;        // a moment after `last`
  bool machine_alive = false;           // at that moment
  std::string machine_status;           // `name=value` lines
  std::optional<DiskSeen> disk;
  IommuMode iommu_mode = IommuMode::kOff;
  std::vector<IommuGeneration> iommu;   // a generation each
  std::vector<std::string> failures;    // steps that could not be done

  // Every generation's counters at their highest, the first generation first.
  void for_each_generation(const std::function<void(const Snapshot&)>& visit) const;
  // How often the devices were reset since the demo began.
  uint32_t resets(const Snapshot& last) const;
};

DemoRun run_demo(const DemoOptions& options, Progress& progress);

// The kernel command line and the machine's devices that `options` ask for.
std::string demo_command_line(const DemoOptions& options);
std::vector<std::string> demo_devices(const DemoOptions& options, const std::string& disk);

}  // namespace causeway::cli
