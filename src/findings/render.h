// Findings as text for people, and for programs: JSON, SARIF, graphs.
//
//   fmt::print(stderr, "{}", render_text(finding, {}));
//   std::cout << to_json(outcome).dump(2);
//   std::ofstream("finding.svg") << svg(finding);         // the circle, drawn here: no other program is needed
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "findings/finding.h"

namespace causeway::findings {

struct TextOptions {
  bool full_stacks = false;   // wrappers and all depths
  size_t depth = 12;          // lines of a stack otherwise
  bool stacks = true;
};

// What one run, or several, came to.
struct Outcome {
  std::string program;               // as it was started
  std::vector<Finding> findings;     // everything, those below the level shown included
  struct Process {
    int pid = 0;
    std::string program;
    uint64_t classes = 0, objects = 0, edges = 0, witnesses = 0, threads = 0, stacks = 0;
    uint64_t memory = 0;             // bytes of its recording
    std::vector<std::pair<std::string, uint64_t>> counters;  // not 0
    std::vector<std::pair<std::string, uint64_t>> dropped;   // by table, not 0
    std::string stopped;             // why its tracker stopped; "": it did not
  };
  std::vector<Process> processes;
  std::string ended_by;              // signal that ended the program; "": none
  std::vector<std::string> not_observed;
  std::vector<std::string> unused_suppressions;
  uint64_t suppressed = 0;           // findings
  uint64_t known = 0;                // of the baseline
};

std::string render_text(const Finding& finding, const TextOptions& options);
// The end: how many of which level, what the numbers are, what was not seen.
std::string render_summary(const Outcome& outcome, Level shown, bool stats);

nlohmann::json to_json(const Finding& finding);
nlohmann::json to_json(const Outcome& outcome);
nlohmann::json to_sarif(const Outcome& outcome);

// The circle of one finding.
std::string dot(const Finding& finding);
std::string svg(const Finding& finding);
// All of them below each other, as a page.
std::string html(const Outcome& outcome, Level shown);

}  // namespace causeway::findings
