// execve(2) and its kin: a program started by this one may be one that nothing can be preloaded into. It would find no
// device and believe there is none, so that is said on standard error; it is started all the same.
//
// May run in a child of vfork(): nothing here writes to memory that the parent shares, and no lock is taken.
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/raw.h"
#include "shim/message.h"
#include "shim/real.h"
#include "shim/thread_channel.h"

using namespace causeway::shim;
using causeway::client::raw;

namespace {

using Execve = int(const char*, char* const*, char* const*);
using Exec = int(const char*, char* const*);
using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const*,
                  char* const*);

// A 64-bit ELF program without an interpreter. Scripts are judged when their interpreter is started.
bool is_static(const char* path) {
  long fd = raw(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  Elf64_Ehdr header{};
  bool found = raw(SYS_pread64, fd, &header, sizeof header, 0) == static_cast<long>(sizeof header) &&
               memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
               header.e_phentsize == sizeof(Elf64_Phdr);
  for (unsigned i = 0; found && i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    long at = static_cast<long>(header.e_phoff + i * sizeof segment);
    if (raw(SYS_pread64, fd, &segment, sizeof segment, at) != static_cast<long>(sizeof segment)) break;
    if (segment.p_type == PT_INTERP) found = false;
  }
  raw(SYS_close, fd);
  return found;
}

void check_program(const char* path) {
  if (path == nullptr || socket_name() == nullptr || !is_static(path)) return;
  say("'%s' is a static program: it does not see the kernel's devices. Use 'causeway run --supervise', which serves whatever "
      "a program starts\n", path);
}

// As execvp() searches.
void check_in_path(const char* file) {
  if (file == nullptr || strchr(file, '/') != nullptr) return check_program(file);
  const char* path = getenv("PATH");
  if (path == nullptr) return;
  char candidate[512];
  for (const char* end; *path != '\0'; path = *end == ':' ? end + 1 : end) {
    end = strchrnul(path, ':');
    size_t length = static_cast<size_t>(end - path);
    if (length + strlen(file) + 2 > sizeof candidate) continue;
    memcpy(candidate, path, length);
    candidate[length] = '/';
    strcpy(candidate + length + 1, file);
    if (raw(SYS_faccessat, AT_FDCWD, candidate, X_OK) == 0) return check_program(candidate);
  }
}

}  // namespace

CW_INTERPOSE int execve(const char* path, char* const* arguments, char* const* environment) {
  check_program(path);
  return CW_NEXT(execve, Execve)(path, arguments, environment);
}
CW_INTERPOSE int execv(const char* path, char* const* arguments) {
  check_program(path);
  return CW_NEXT(execv, Exec)(path, arguments);
}
CW_INTERPOSE int execvp(const char* file, char* const* arguments) {
  check_in_path(file);
  return CW_NEXT(execvp, Exec)(file, arguments);
}
CW_INTERPOSE int execvpe(const char* file, char* const* arguments, char* const* environment) {
  check_in_path(file);
  return CW_NEXT(execvpe, Execve)(file, arguments, environment);
}
CW_INTERPOSE int posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions,
                             const posix_spawnattr_t* attributes, char* const* arguments, char* const* environment) {
  check_program(path);
  return CW_NEXT(posix_spawn, Spawn)(child, path, actions, attributes, arguments, environment);
}
CW_INTERPOSE int posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions,
                              const posix_spawnattr_t* attributes, char* const* arguments, char* const* environment) {
  check_in_path(file);
  return CW_NEXT(posix_spawnp, Spawn)(child, file, actions, attributes, arguments, environment);
}
