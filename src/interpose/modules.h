// The code that is loaded: where each piece lies, and which file it is. Stacks of a program counter alone are made readable with
// it later, and a static object is named by it: its module and its offset there are the same in every run.
//
//   record_modules();          // at the start, and after dlopen() and dlclose()
#pragma once

namespace causeway::interpose {

// Compares what is loaded with what is recorded (Table::kModule). Takes the loader's lock: never inside the tracker.
void record_modules();

// Whether the calling thread is within dlopen() or dlclose(), where what was just loaded is not recorded yet.
bool is_loading();

}  // namespace causeway::interpose
