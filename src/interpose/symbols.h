// Symbols of the libraries behind this one, without the loader's help: dlsym() allocates when it does not find something, and the
// program's allocator may call the very function that is being looked up.
//
//   void* lock = next_symbol("pthread_mutex_lock");    // nullptr: nobody has it
//
// Reads the dynamic sections of what is loaded, in the order the loader searches them. Of several versions of a symbol it takes the
// default one, as a program linked today would: an unversioned dlsym() of glibc before 2.36 hands out the
// condition variables of 1997 (bug 14932). No lock, no allocation. Source: gABI, chapter 5; the GNU hash table as binutils writes it.
#pragma once

namespace causeway::interpose {

void* next_symbol(const char* name);

}  // namespace causeway::interpose
