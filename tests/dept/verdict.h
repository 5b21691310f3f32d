// What a program of the corpus says must be said of it, and whether it was.
//
//   Row row;
//   std::string trouble = read_row("corpus/M01.c", &row);      // "": fine
//   for (const std::string& fault : faults(row, {.outcome = json, .status = 0})) ...
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace causeway::tests {

// "info" 0 to "certain" 3; -1: none of them.
int rank_of(const std::string& level);
inline constexpr int kShownByDefault = 2;

// The comments a program opens with; README.md has their grammar.
struct Row {
  std::string id;                      // M01
  std::string source;                  // M01.c
  std::string what;
  bool deadlocks = false;              // truth: D
  int level = -1;                      // -1: silent
  std::string kind;                    // "": any
  size_t hops = 0;                     // 0: any
  std::vector<std::string> names;
  std::vector<std::string> options;    // of causeway dept
  std::string shown;                   // level the findings are shown from; "": the default
  unsigned hang = 0;                   // seconds after which it is ended; 0: it ends
  std::vector<std::string> runs;       // an argument for each of several runs on one database
  std::string missed;                  // why it is known not to be found; "": it is
};
std::string read_row(const std::string& path, Row* row);
std::string parse_row(const std::string& source, const std::string& text, Row* row);

struct Observation {
  nlohmann::json outcome;              // of causeway dept --json-file; discarded or null: it wrote none
  int status = 0;                      // of causeway, which is the program's
  bool printed_in_time = true;         // a program that hangs: the finding was there before it was ended
};

// Findings at or above the default level, of a program that has nothing to find; one line each.
std::vector<std::string> false_reports(const Row& row, const Observation& seen);
// Everything that is not as the row says; empty: it was found as it should be, or rightly not.
std::vector<std::string> faults(const Row& row, const Observation& seen);

}  // namespace causeway::tests
