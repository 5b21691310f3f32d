// Compiled by tests that want the compiler to complain: CW_DROP names a function whose Result is dropped.
#include "base/result.h"

causeway::Status step();
causeway::Result<int> count();

void drop() { CW_DROP(); }
