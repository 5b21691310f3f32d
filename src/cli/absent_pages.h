// Mapped files of which a page cannot be had: cut short by somebody, or full of holes on a file system that is full.
//
//   read_absent_pages_as_zeros();        // instead of dying of SIGBUS
//
// For who reads what others write, and checks what it reads.
#pragma once

namespace causeway::cli {

// Of this whole process, from now on. Programs that it executes have SIGBUS as it was.
void read_absent_pages_as_zeros();

}  // namespace causeway::cli
