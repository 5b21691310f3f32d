// Processes: fork, exec, exit. A forked child has a tracker and an arena of its own before anything of the program runs in it. vfork is
// not wrapped: a function that returns twice cannot be, and its child lives in our memory; what it calls passes through
// is_own_process().
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "interpose/bootstrap.h"
#include "interpose/real.h"

extern "C" int __register_atfork(void (*prepare)(), void (*parent)(), void (*child)(), void* library) noexcept;

CW_DEFINE_REAL(fork);
CW_DEFINE_REAL(_Fork);
CW_DEFINE_REAL(clone);
CW_DEFINE_REAL(__register_atfork);
CW_DEFINE_REAL(execve);
CW_DEFINE_REAL(execv);
CW_DEFINE_REAL(execvp);
CW_DEFINE_REAL(execvpe);
CW_DEFINE_REAL(fexecve);
CW_DEFINE_REAL(execveat);
CW_DEFINE_REAL(_exit);
CW_DEFINE_REAL(_Exit);

namespace causeway::interpose {
namespace {

struct Forked {
  int (*routine)(void*);
  void* argument;
};

// On the child's own stack, in its own copy of the memory.
int run_forked(void* forked) {
  const Forked what = *static_cast<Forked*>(forked);
  child_of_fork();
  const int status = what.routine(what.argument);
  process_ends();  // what comes next is the bare system call
  return status;
}

// This image ends, unless it cannot.
template <typename Real>
int execute(Real&& real) {
  process_ends();
  const int result = real();
  if (tracked()) {
    const KeepErrno errno_is_kept;
    process_goes_on();
  }
  return result;
}

// The arguments of execl() and its like, as an array on the stack of who calls: a vfork's child may allocate nothing. `exec` is given them, and
// what comes after them.
template <typename Exec>
int with_list(const char* first, va_list list, Exec&& exec) {
  unsigned count = 0;
  if (first != nullptr) {  // declared nonnull, and given as null all the same
    va_list copy;
    va_copy(copy, list);
    for (count = 1; va_arg(copy, char*) != nullptr; ++count) {}
    va_end(copy);
  }
  char* arguments[count + 1];
  arguments[0] = const_cast<char*>(first);
  for (unsigned i = 1; i <= count; ++i) arguments[i] = va_arg(list, char*);
  return exec(arguments, list);
}

}  // namespace
}  // namespace causeway::interpose

using namespace causeway::interpose;

CW_INTERPOSE pid_t fork() noexcept {
  const auto real = CW_REAL(fork);
  if (tracked()) before_fork();  // and our handler is registered
  const pid_t pid = real();
  if (pid == 0) child_of_fork();
  return pid;
}

CW_INTERPOSE pid_t _Fork() noexcept {
  if (tracked()) before_fork();
  const pid_t pid = CW_REAL(_Fork)();
  if (pid == 0) child_of_fork();
  return pid;
}

CW_INTERPOSE int clone(int (*routine)(void*), void* stack, int flags, void* argument, ...) noexcept {
  va_list rest;
  va_start(rest, argument);
  auto* parent_tid = va_arg(rest, pid_t*);
  void* tls = va_arg(rest, void*);
  auto* child_tid = va_arg(rest, pid_t*);
  va_end(rest);
  const auto real = CW_REAL(clone);
  if ((flags & CLONE_VM) != 0 || !tracked()) return real(routine, stack, flags, argument, parent_tid, tls, child_tid);
  before_fork();
  Forked forked{routine, argument};
  return real(run_forked, stack, flags, &forked, parent_tid, tls, child_tid);
}

// Handlers of a fork run in the order of their registration in the child, and ours has to be the first.
CW_INTERPOSE int __register_atfork(void (*prepare)(), void (*parent)(), void (*child)(), void* library) noexcept {
  tracked();
  return CW_REAL(__register_atfork)(prepare, parent, child, library);
}

CW_INTERPOSE int execve(const char* path, char* const arguments[], char* const variables[]) noexcept {
  const auto real = CW_REAL(execve);
  return execute([&] { return real(path, arguments, variables); });
}

CW_INTERPOSE int execv(const char* path, char* const arguments[]) noexcept {
  const auto real = CW_REAL(execv);
  return execute([&] { return real(path, arguments); });
}

CW_INTERPOSE int execvp(const char* file, char* const arguments[]) noexcept {
  const auto real = CW_REAL(execvp);
  return execute([&] { return real(file, arguments); });
}

CW_INTERPOSE int execvpe(const char* file, char* const arguments[], char* const variables[]) noexcept {
  const auto real = CW_REAL(execvpe);
  return execute([&] { return real(file, arguments, variables); });
}

CW_INTERPOSE int fexecve(int fd, char* const arguments[], char* const variables[]) noexcept {
  const auto real = CW_REAL(fexecve);
  return execute([&] { return real(fd, arguments, variables); });
}

CW_INTERPOSE int execveat(int directory, const char* path, char* const arguments[], char* const variables[], int flags) noexcept {
  const auto real = CW_REAL(execveat);
  return execute([&] { return real(directory, path, arguments, variables, flags); });
}

CW_INTERPOSE int execl(const char* path, const char* first, ...) noexcept {
  va_list rest;
  va_start(rest, first);
  const int result = with_list(first, rest, [&](char** arguments, auto&) { return execv(path, arguments); });
  va_end(rest);
  return result;
}

CW_INTERPOSE int execlp(const char* file, const char* first, ...) noexcept {
  va_list rest;
  va_start(rest, first);
  const int result = with_list(first, rest, [&](char** arguments, auto&) { return execvp(file, arguments); });
  va_end(rest);
  return result;
}

CW_INTERPOSE int execle(const char* path, const char* first, ...) noexcept {
  va_list rest;
  va_start(rest, first);
  const int result = with_list(first, rest, [&](char** arguments, auto& after) { return execve(path, arguments, va_arg(after, char* const*)); });
  va_end(rest);
  return result;
}

CW_INTERPOSE void _exit(int status) {
  process_ends();
  CW_REAL(_exit)(status);
  __builtin_unreachable();
}

CW_INTERPOSE void _Exit(int status) noexcept {
  process_ends();
  CW_REAL(_Exit)(status);
  __builtin_unreachable();
}
