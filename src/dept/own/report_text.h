// A report as a block of text, of a program whose places are lines of source already: nothing is looked up.
//
//   Printer out(STDERR_FILENO);
//   print_report(out, arena, id);
//
// For other programs' reports, which want symbols, see src/findings.
#pragma once

#include "dept/arena.h"
#include "dept/print.h"

namespace causeway::dept::own {

void print_report(Printer& out, Arena& arena, ReportId id);

}  // namespace causeway::dept::own
