// Compiled with -fexceptions. The personality routine is the program's, if it has one; without one, no exception can come by here, and the
// thread that is cancelled here ends anyway.
#include "interpose/once.h"

asm(".weak __gxx_personality_v0\n.weak _Unwind_Resume");

namespace causeway::interpose::once {

void run(dept::ObjectId object, dept::Site site, void (*routine)()) {
  struct Running {
    dept::ObjectId object;
    dept::Site site;
    Running(dept::ObjectId what, dept::Site where) : object(what), site(where) { runs(object, site); }
    ~Running() { ran(object, site); }
  } running(object, site);
  routine();
}

}  // namespace causeway::interpose::once
