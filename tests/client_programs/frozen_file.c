// What a program may not do to a memfd that is in a session: change its size. One check a run, named by the argument; exit
// status 0: as it should be.
//
//   causeway run -- frozen_file rules
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "liveupdate_uapi.h"

static int failures;
#define CHECK(condition)                                                                            \
  do {                                                                                              \
    errno = 0;                                                                                      \
    if (!(condition)) {                                                                             \
      fprintf(stderr, "line %d: %s does not hold, errno %d\n", __LINE__, #condition, errno);        \
      ++failures;                                                                                   \
    }                                                                                               \
  } while (0)
#define REFUSED(call) CHECK((call) == -1 && errno == EPERM)

static int device_fd, session_fd;

static void open_device(void) {
  device_fd = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < 1000 && device_fd < 0; ++i) {
    usleep(10000);
    device_fd = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
  }
  if (device_fd < 0) exit(77);
}

static int session(unsigned long request) {
  struct session_request argument = {sizeof argument, -1, "frozen"};
  if (ioctl(device_fd, request, &argument) != 0) return -1;
  return argument.fd;
}

static int preserve(int fd, uint64_t token) {
  struct fd_request argument = {sizeof argument, fd, token};
  return ioctl(session_fd, PRESERVE_FD, &argument);
}

static int retrieve(uint64_t token) {
  struct fd_request argument = {sizeof argument, -1, token};
  return ioctl(session_fd, RETRIEVE_FD, &argument) == 0 ? argument.fd : -1;
}

static int finish(void) {
  struct finish_request argument = {sizeof argument, 0};
  return ioctl(session_fd, FINISH, &argument);
}

static int memory(off_t size) {
  int fd = memfd_create("frozen", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, size) != 0) exit(78);
  return fd;
}

static off_t size_of(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 ? info.st_size : -1;
}

static void begin(void) {
  open_device();
  session_fd = session(CREATE_SESSION);
  if (session_fd < 0) exit(79);
}

static char bytes[3 * 4096];

static void check_refusals(int fd, off_t size) {
  REFUSED(ftruncate(fd, size + 1));
  REFUSED(ftruncate(fd, 0));
  REFUSED(ftruncate64(fd, size - 1));
  REFUSED(syscall(SYS_ftruncate, fd, size + 1));
  CHECK(ftruncate(fd, size) == 0);
  REFUSED(fallocate(fd, 0, 0, 4096));
  REFUSED(fallocate64(fd, FALLOC_FL_KEEP_SIZE, 0, 4096));
  REFUSED(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096));
  REFUSED(syscall(SYS_fallocate, fd, 0, 0L, 4096L));
  CHECK(posix_fallocate(fd, 0, 4096) == EPERM);
  CHECK(size_of(fd) == size);
}

// What does not depend on the file being frozen is as it always is.
static void check_other_errors(int fd) {
  CHECK(ftruncate(fd, -1) == -1 && errno == EINVAL);
  CHECK(fallocate(fd, 0, -1, 1) == -1 && errno == EINVAL);
  CHECK(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) == -1 && errno == EOPNOTSUPP);
  CHECK(ftruncate(-1, 5) == -1 && errno == EBADF);
  CHECK(pwrite(fd, bytes, 1, -1) == -1 && errno == EINVAL);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int reader = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(ftruncate(reader, 5) == -1 && errno == EINVAL);
  CHECK(write(reader, bytes, 1) == -1 && errno == EBADF);
  CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EBUSY);
  close(reader);
}

static void check_writes(int fd) {
  CHECK(pwrite(fd, "in range", 8, 100) == 8);
  CHECK(pread(fd, bytes, 8, 100) == 8 && memcmp(bytes, "in range", 8) == 0);
  REFUSED(pwrite(fd, bytes, 1, 8192));
  CHECK(pwrite64(fd, bytes, 20, 8190) == 2);
  CHECK(pwrite(fd, bytes, sizeof bytes, 0) == 8192);
  CHECK(pwrite(fd, bytes, 4097, 4095 + 1) == 4096);
  CHECK(pwrite(fd, bytes, 0, 9000) == 0);
  CHECK(lseek(fd, 4000, SEEK_SET) == 4000);
  CHECK(write(fd, bytes, sizeof bytes) == 4192);
  CHECK(lseek(fd, 0, SEEK_CUR) == 8192);
  REFUSED(write(fd, bytes, 1));
  struct iovec parts[3] = {{bytes, 4000}, {bytes, 200}, {bytes, 8000}};
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  CHECK(writev(fd, parts, 3) == 8192);
  REFUSED(writev(fd, parts, 3));
  CHECK(pwritev(fd, parts, 3, 4096) == 4096);
  REFUSED(pwritev(fd, parts, 3, 8192));
  CHECK(pwritev2(fd, parts, 2, 0, 0) == 4200);
  REFUSED(pwritev2(fd, parts, 1, 0, RWF_APPEND));
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  CHECK(pwritev2(fd, parts, 3, -1, 0) == 8192);
  CHECK(lseek(fd, 0, SEEK_CUR) == 8192);
  struct iovec* volatile nowhere = (struct iovec*)16;
  CHECK(writev(fd, nowhere, 1) == -1 && errno == EFAULT);
  CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0);
  REFUSED(write(fd, bytes, 1));
  CHECK(fcntl(fd, F_SETFL, 0) == 0);
  CHECK(size_of(fd) == 8192);
}

static void check_rules(void) {
  int fd = memory(8192), other = memory(8192), empty = memory(0);
  begin();
  CHECK(preserve(fd, 1) == 0);
  CHECK(preserve(empty, 2) == 0);
  char* mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  check_refusals(fd, 8192);
  check_writes(fd);
  check_other_errors(fd);
  strcpy(mapped, "stored");
  CHECK(pread(fd, bytes, 7, 0) == 7 && strcmp(bytes, "stored") == 0);
  REFUSED(ftruncate(empty, 1));
  REFUSED(write(empty, bytes, 1));
  CHECK(ftruncate(empty, 0) == 0);
  int odd = memory(5000);
  CHECK(preserve(odd, 3) == 0);
  REFUSED(pwrite(odd, bytes, 20, 4990));  // no whole page of it
  CHECK(pwrite(odd, bytes, 5000, 0) == 5000 && pwrite(odd, bytes, 5001, 0) == 4096);
  // A file that is in no session.
  CHECK(ftruncate(other, 100) == 0 && pwrite(other, bytes, 10, 200) == 10 && fallocate(other, 0, 0, 9000) == 0);
  int child = fork();
  if (child == 0) {
    REFUSED(ftruncate(fd, 1));
    _exit(failures);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  close(session_fd);
  CHECK(ftruncate(fd, 100) == 0 && fallocate(fd, 0, 0, 9000) == 0 && pwrite(fd, bytes, 10, 20000) == 10);
  CHECK(write(empty, bytes, 1) == 1);
}

// The host treats writes to a file that is sealed against growing as Linux treats those to a frozen one.
static void check_against_seal(void) {
  srand(7);
  begin();
  for (uint64_t round = 0; round < 20; ++round) {
    off_t size = rand() % 20000;
    int fd = memory(size), twin = memory(size);
    CHECK(fcntl(twin, F_ADD_SEALS, F_SEAL_GROW) == 0);
    CHECK(preserve(fd, round) == 0);
    for (int i = 0; i < 50; ++i) {
      off_t at = rand() % 24000;
      size_t length = (size_t)(rand() % (i % 2 == 0 ? 12000 : 50));
      errno = 0;
      ssize_t frozen = pwrite(fd, bytes, length, at);
      int frozen_errno = errno;
      errno = 0;
      ssize_t sealed = pwrite(twin, bytes, length, at);
      if (frozen != sealed || frozen_errno != errno) {
        fprintf(stderr, "%zu bytes at %ld of %ld: %zd errno %d, want %zd errno %d\n", length, (long)at, (long)size, frozen,
                frozen_errno, sealed, errno);
        ++failures;
      }
    }
    close(fd);
    close(twin);
  }
}

// A live update lifts it; what is retrieved has the size it had, and may be resized; preserved again, it may not.
static void check_live_update(const char* causeway) {
  char name[128], command[512];
  const char* socket = getenv("CAUSEWAY_SOCKET");
  if (socket == NULL || sscanf(socket, "causeway/%*[^/]/%127[^/]", name) != 1) exit(80);
  snprintf(command, sizeof command, "%s kexec --name %s >&2", causeway, name);
  int fd = memory(8192);
  begin();
  CHECK(preserve(fd, 1) == 0);
  for (int hop = 0; hop < 3; ++hop) {
    REFUSED(ftruncate(fd, 1));
    CHECK(system(command) == 0);
    CHECK(ftruncate(fd, 20000) == 0);
    close(session_fd);
    close(device_fd);
    open_device();
    session_fd = session(RETRIEVE_SESSION);
    CHECK(session_fd >= 0);
    int again = retrieve(1);
    CHECK(size_of(again) == 8192);
    CHECK(ftruncate(again, 5000) == 0);
    CHECK(finish() == 0);
    CHECK(ftruncate(again, 8192) == 0);
    close(session_fd);
    close(fd);
    fd = again;
    session_fd = session(CREATE_SESSION);
    CHECK(preserve(fd, 1) == 0);
  }
  REFUSED(ftruncate(fd, 1));
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "rules") == 0) check_rules();
  else if (argc == 2 && strcmp(argv[1], "seal") == 0) check_against_seal();
  else if (argc == 3 && strcmp(argv[1], "live-update") == 0) check_live_update(argv[2]);
  else return 2;
  return failures == 0 ? 0 : 1;
}
