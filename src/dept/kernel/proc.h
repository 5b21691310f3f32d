// What /proc/dept_deps and /proc/dept_stats show, to a file descriptor, at any time.
//
//   kernel::print_deps(STDOUT_FILENO);
//
//   [0x5581c0de1000] mm.zone:0
//    -> [0x5581c0de1040] dma.engine:0
#pragma once

namespace causeway::dept::kernel {

// A paragraph for each class: its key, <sched> if it is a sleep that is its own class, its name; then what it depends on.
void print_deps(int fd);
// Records, bytes and what was dropped of each table, then every counter. Tables grow on demand up to a fixed size, in place of pools
// that are refilled: nothing stops when one is full, the newest is left out and counted here.
void print_stats(int fd);

}  // namespace causeway::dept::kernel
