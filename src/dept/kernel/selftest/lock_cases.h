// Orders of locks of one kind, of readers and writers, and misuse: 7 kinds of lock side by side.
#pragma once

#include "dept/kernel/selftest/bench.h"

namespace causeway::dept::kernel::selftest {

inline Case script_case(const std::string& name, const std::string& script, bool report, Column column = Column::kSpin,
                        uint8_t irq = kHardirq) {
  return {name, report, [script](Bench& bench) { bench.run(script); }, column, irq, ""};
}

inline void add_lock_cases(Cases& cases) {
  struct Family {
    const char* name;
    std::string script;
    bool rlock_reports;
  };
  const Family families[] = {
      {"AA", "L:X1 L:X2 U:X2 U:X1", false},
      {"ABBA", pairs("AB BA"), false},
      {"ABBCCA", pairs("AB BC CA"), false},
      {"ABCABC", pairs("AB CA BC"), false},
      {"ABBCCDDA", pairs("AB BC CD DA"), false},
      {"ABCDBDDA", pairs("AB CD BD DA"), false},
      {"ABCDBCDA", pairs("AB CD BC DA"), false},
      {"double unlock", "L:A U:A U:A", true},
      {"init held", "L:A I:A", true},
  };
  for (const Family& family : families) {
    for (Column column : kColumns) {
      cases.push_back(script_case(std::string(family.name) + "/" + name_of(column), family.script,
                                  column != Column::kRlock || family.rlock_reports, column));
    }
  }

  struct ReadWrite {
    const char* name;
    const char* script;
    bool rlock_reports;
  };
  const ReadWrite read_write[] = {
      {"recursive read", "r:X1 r:X1 U:X1 U:X1", false},
      {"recursive read of two", "r:X1 r:X2 U:X2 U:X1", false},
      {"read, then write", "r:X1 w:X2 U:X2 U:X1", true},
      {"write, then read", "w:X1 r:X2 U:X2 U:X1", true},
      {"R-L, L-W", "r:A S:B U:B U:A  S:B w:A U:A U:B", true},
      {"R-L, L-R", "r:A S:B U:B U:A  S:B r:A U:A U:B", false},
      {"W-L, L-W", "w:A S:B U:B U:A  S:B w:A U:A U:B", true},
  };
  for (const ReadWrite& row : read_write) {
    for (Column column : {Column::kRlock, Column::kRsem}) {
      cases.push_back(script_case(std::string(row.name) + "/" + name_of(column), row.script,
                                  column == Column::kRsem || row.rlock_reports, column));
    }
  }
  cases.push_back(script_case("a known chain hides no write",
                              "R:A S:B U:B U:A  S:B R:A U:A U:B  S:B W:A U:A U:B", true));

  struct Three {
    const char* name;
    const char* script;
    bool report;
  };
  const Three three[] = {
      {"W1R2 W2R3 W3R1", "W:A R:B U:B U:A | W:B R:C U:C U:B | W:C R:A U:A U:C", true},
      {"W1W2 R2R3 W3R1", "W:A W:B U:B U:A | R:B R:C U:C U:B | W:C R:A U:A U:C", true},
      {"W1W2 R2R3 R3W1", "W:A W:B U:B U:A | R:B R:C U:C U:B | R:C W:A U:A U:C", false},
      {"W1R2 R2R3 W3W1", "W:A R:B U:B U:A | R:B R:C U:C U:B | W:C W:A U:A U:C", false},
  };
  for (const Three& row : three) {
    unsigned order = 0;
    for (const std::string& script : permutations(row.script))
      cases.push_back(script_case(std::string(row.name) + "/" + std::to_string(order++), script, row.report));
  }
}

}  // namespace causeway::dept::kernel::selftest
