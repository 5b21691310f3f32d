// Stacks, fast: program counters of the callers, by call-frame information that is looked up once for each place.
//
//   Frame frames[kStackDepth];
//   unsigned depth = unwind(frames, kStackDepth, 1);              // without this function's caller
//   depth = unwind_from(frames, kStackDepth, site.where);         // from the frame that will return there
//
// Walks by the rules in .eh_frame, found through _dl_find_object() or dl_iterate_phdr() (dept/cfi.h) and kept, in a
// small form, in a table by program counter (dept/rule_cache.h), so that a known place costs a few nanoseconds. It needs
// no frame pointers. Async-signal-safe, never allocates; takes no lock of libc at all with glibc 2.35 and later, and none
// after the first look-up of a place with an older one. Code without information (a JIT's), or with rules it does not
// understand, ends the stack early. On other machines than x86-64 it follows frame pointers, and ends where there are
// none.
//
// Every frame is a return address, so that the call is at pc - 1; where a signal interrupted code, one past the
// interrupted instruction's first byte, so that this holds there too.
#pragma once

#include "dept/site.h"

namespace causeway::dept {

// Frames of the caller's callers, innermost first, at most `max`. The first `skip` are left out.
unsigned unwind(Frame* frames, unsigned max, unsigned skip);
// The same from the frame whose return address is `innermost` on, however many functions of ours lie within it and
// whether or not the compiler made them one. All of them, if there is no such frame near.
unsigned unwind_from(Frame* frames, unsigned max, uintptr_t innermost);
// Code has been loaded or unloaded: what was learnt about it is forgotten.
void unwind_modules_changed();

}  // namespace causeway::dept
