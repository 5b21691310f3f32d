// Preserves memfds of one page, has the kernel replaced, and wants them all back.
//
//   causeway run -- many_files FILES CYCLES CAUSEWAY
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "liveupdate_uapi.h"

static void die(const char* what, uint64_t which) {
  fprintf(stderr, "%s %lu: %s\n", what, (unsigned long)which, strerror(errno));
  exit(1);
}

static int open_session(int device, unsigned long request) {
  struct session_request argument = {sizeof argument, -1, "many"};
  if (ioctl(device, request, &argument) != 0) die("session", request);
  return argument.fd;
}

static int open_device(void) {
  int fd = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
  if (fd < 0) die("/dev/liveupdate", 0);
  return fd;
}

int main(int argc, char** argv) {
  char name[128], command[512];
  const char* socket = getenv("CAUSEWAY_SOCKET");
  if (argc != 4 || socket == NULL || sscanf(socket, "causeway/%*[^/]/%127[^/]", name) != 1) return 2;
  const uint64_t files = strtoul(argv[1], NULL, 10), cycles = strtoul(argv[2], NULL, 10);
  snprintf(command, sizeof command, "%s kexec --name %s >&2", argv[3], name);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int* fds = calloc(files, sizeof *fds);

  for (uint64_t cycle = 0; cycle < cycles; ++cycle) {
    int device = open_device(), session = open_session(device, CREATE_SESSION);
    for (uint64_t i = 0; i < files; ++i) {
      uint64_t word = cycle << 32 | i;
      fds[i] = memfd_create("many", MFD_CLOEXEC);
      if (fds[i] < 0 || pwrite(fds[i], &word, sizeof word, 4096 - sizeof word) != sizeof word) die("memfd", i);
      struct fd_request argument = {sizeof argument, fds[i], i};
      if (ioctl(session, PRESERVE_FD, &argument) != 0) die("PRESERVE_FD", i);
    }
    for (uint64_t i = 0; i < files; ++i) close(fds[i]);
    if (system(command) != 0) die("kexec", cycle);
    close(session);
    close(device);
    device = open_device();
    session = open_session(device, RETRIEVE_SESSION);
    for (uint64_t i = 0; i < files; ++i) {
      uint64_t word = 0;
      struct fd_request argument = {sizeof argument, -1, i};
      if (ioctl(session, RETRIEVE_FD, &argument) != 0) die("RETRIEVE_FD", i);
      fds[i] = argument.fd;
      if (pread(fds[i], &word, sizeof word, 4096 - sizeof word) != sizeof word || word != (cycle << 32 | i))
        die("contents", i);
    }
    struct finish_request finish = {sizeof finish, 0};
    if (ioctl(session, FINISH, &finish) != 0) die("FINISH", cycle);
    for (uint64_t i = 0; i < files; ++i) close(fds[i]);
    close(session);
    close(device);
  }
  free(fds);
  return 0;
}
