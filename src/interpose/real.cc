#include "interpose/real.h"

#include "interpose/say.h"
#include "interpose/symbols.h"

extern "C" {
extern causeway::interpose::RealFunction __start_cw_real[] __attribute__((visibility("hidden")));
extern causeway::interpose::RealFunction __stop_cw_real[] __attribute__((visibility("hidden")));
}

namespace causeway::interpose {

void* RealFunction::find() {
  void* function = next_symbol(name);
  if (function != nullptr) address.store(function, std::memory_order_relaxed);
  return function;
}

void* RealFunction::find_or_die() {
  void* function = find();
  if (function == nullptr) {
    say("this program's C library has no ", name);
    __builtin_trap();
  }
  return function;
}

void resolve_all() {
  for (RealFunction* real = __start_cw_real; real != __stop_cw_real; ++real) {
    if (real->address.load(std::memory_order_relaxed) == nullptr) real->find();
  }
}

}  // namespace causeway::interpose
