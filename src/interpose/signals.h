// Which signals may interrupt a thread: those with a handler of the program's that the thread does not block.
//
//   signals::thread_begins();      // on a new thread: its mask is its creator's
//   signals::mask_changed();       // after pthread_sigmask() and its like
//   signals::jumps_to(sp);         // before longjmp(): handlers whose frames are left have ended
#pragma once

#include <cstdint>

namespace causeway::interpose::signals {

void thread_begins();
void mask_changed();
void jumps_to(uintptr_t stack_pointer);

}  // namespace causeway::interpose::signals
