// Locks that interruptions take too: hard and soft ones, by three kinds of lock, in every order of what happens.
#pragma once

#include "dept/kernel/selftest/lock_cases.h"

namespace causeway::dept::kernel::selftest {

inline void add_permuted(Cases& cases, const std::string& name, const std::string& script,
                         std::initializer_list<Column> columns, std::initializer_list<uint8_t> kinds) {
  for (uint8_t irq : kinds) {
    for (Column column : columns) {
      unsigned order = 0;
      for (const std::string& permuted : permutations(script)) {
        cases.push_back(script_case(name + (irq == kHardirq ? "/hard/" : "/soft/") + name_of(column) + "/" +
                                        std::to_string(order++),
                                    permuted, column != Column::kRlock, column, irq));
      }
    }
  }
}

inline void add_irq_cases(Cases& cases) {
  const auto three = {Column::kSpin, Column::kWlock, Column::kRlock};
  const auto readers = {Column::kWlock, Column::kRlock};
  const auto both = {kHardirq, kSoftirq};
  add_permuted(cases, "irqs on, safe A", "irq( L:A U:A ) | L:A U:A", three, both);
  add_permuted(cases, "soft-safe A, hard irqs enabled", "soft( L:A U:A ) | hoff L:A hon U:A", three, {kSoftirq});
  add_permuted(cases, "safe A, irqs enabled", "irq( L:A U:A ) | off L:A on U:A", three, both);
  add_permuted(cases, "safe A, unsafe B", "L:A L:B U:B U:A | L:B U:B | irq( L:A U:A )", three, both);
  add_permuted(cases, "safe A, unsafe B #2", "off L:A L:B U:B U:A on | L:B U:B | irq( L:A U:A )", three, both);
  add_permuted(cases, "lock inversion", "off W:A L:B U:B U:A on | L:B U:B | irq( R:A U:A )", three, both);
  add_permuted(cases, "read recursion", "off W:A U:A on | R:A U:A | irq( L:A S:B U:B U:A )", readers, both);
  add_permuted(cases, "read recursion #2", "off S:B L:A U:A U:B on | R:A U:A | irq( S:B U:B )", readers, both);
  add_permuted(cases, "read recursion #3", "off W:B L:A U:A U:B on | R:A U:A | irq( R:B U:B )", readers, both);

  // In an interruption a queued reader goes ahead of a waiting writer, as a recursive one does.
  cases.push_back(script_case("queued read RE, Er", "hard( R:A S:B U:B U:A ) hoff S:B Q:A U:A U:B hon", true));
  cases.push_back(script_case("queued read ER, rE", "hard( S:B R:A U:A U:B ) hoff Q:A S:B U:B U:A hon", false));
  cases.push_back(script_case("queued read inversion", "hard( S:B U:B ) hoff S:B Q:A U:A U:B hon Q:A U:A", true));

  const char* local = "P:L S:B U:B U:L  hard( S:A U:A )  hoff S:A P:L U:L U:A hon";
  cases.push_back(script_case("local_lock 2", "P:L U:L  hard( S:A U:A )  hoff S:A P:L U:L U:A hon", false));
  cases.push_back(script_case("local_lock 3A", local, false));
  cases.push_back(script_case("local_lock 3B", std::string(local) + " hoff S:A S:B U:B U:A hon", true));
  cases.push_back(script_case("a chain that only the hard interrupt closes",
                              "hoff S:A S:B U:B U:A hon  hoff S:B S:C U:C U:B hon  soff S:C U:C son "
                              "soft( S:A U:A )  hard( S:A U:A )",
                              true));
}

}  // namespace causeway::dept::kernel::selftest
