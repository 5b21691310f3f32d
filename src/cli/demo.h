// The main job, self-contained: a machine of its own streams into memory while its kernel is replaced.
//
//   DemoRun run = run_demo({.seconds = 10, .updates = 5}, progress);
//   auto problems = find_problems(run);      // demo_verdict.h
//   print_table(run, problems);              // demo_report.h
//
// Machine and kernel are children that end with this program, whatever ends it; their sockets have
// abstract names, so nothing is left behind.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "cli/sabotage.h"
#include "cli/snapshot.h"

namespace causeway::cli {

struct DemoOptions {
  double seconds = 10;
  unsigned updates = 5;
  std::string ram;               // "": the machine's default
  std::optional<uint32_t> rate;  // records per second
  std::optional<uint32_t> ring;  // stream buffers
  const SabotageMode* sabotage = nullptr;
  bool verbose = false;          // the logs of machine and kernels go to stderr
};

struct DemoUpdate {
  Snapshot before;  // of the old kernel, just before
  Snapshot after;   // of the new one, at its first work
  Snapshot end;     // of the new one, at the end of its time
};

// What was seen. Nothing here says whether it was good.
struct DemoRun {
  unsigned wanted_updates = 0;
  double seconds = 0;                   // the stream ran
  std::optional<Snapshot> first;        // of the first kernel
  std::vector<DemoUpdate> updates;      // those that happened
  std::optional<Snapshot> last;         // when the time was over
  std::optional<Snapshot> later;        // a moment after `last`
  bool machine_alive = false;           // at that moment
  std::string machine_status;           // `name=value` lines
  std::vector<std::string> failures;    // steps that could not be done
};

DemoRun run_demo(const DemoOptions& options, Progress& progress);

// The kernel command line that `options` ask for.
std::string demo_command_line(const DemoOptions& options);

}  // namespace causeway::cli
