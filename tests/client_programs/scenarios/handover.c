/* Before, during and after a live update. */
#define _GNU_SOURCE
#include "scenario.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const off_t kHuge = 1L << 30;

static int retrieve_session(int device, const char* name) {
  struct session_request request = {sizeof request, -1, ""};
  strcpy(request.name, name);
  return ioctl(device, RETRIEVE_SESSION, &request) == 0 ? request.fd : -1;
}
static int retrieve_fd(int session, uint64_t token) {
  struct fd_request request = {sizeof request, -1, token};
  return ioctl(session, RETRIEVE_FD, &request) == 0 ? request.fd : -1;
}

/* Stays until it is killed, as a VMM that is frozen; before that tells what becomes of its descriptors.
   Output: "saved", and after a line on standard input "gone" if the sessions are the old kernel's. */
static int save(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int first = create_session(device, "first"), second = create_session(device, "second");
  int memory[3];
  for (int i = 0; i < 3; ++i) {
    char text[32];
    sprintf(text, "content %d", i);
    memory[i] = make_memory(8192 * (size_t)(i + 1) + 100, text);
    CHECK(lseek(memory[i], 5 + i, SEEK_SET) == 5 + i);
    CHECK(try_preserve(first, memory[i], (uint64_t)i << 40) == 0);
  }
  int huge = make_memory((size_t)kHuge, "huge");
  CHECK(pwrite(huge, "middle", 6, kHuge / 2 + 4093) == 6 && pwrite(huge, "end", 3, kHuge - 3) == 3);
  CHECK(try_preserve(second, huge, 1) == 0);
  puts("saved");
  fflush(stdout);
  char line[16];
  if (fgets(line, sizeof line, stdin) == NULL) return 1;
  char name[64];
  CHECK_ERRNO(get_name(first, name), ENODEV);
  CHECK_ERRNO(try_create(device, "x"), ENODEV);
  CHECK_ERRNO(try_preserve(second, huge, 2), ENODEV);
  int fresh = open_device(O_CLOEXEC);
  check_name(create_session(fresh, "fresh"), "fresh");
  CHECK_ERRNO(try_preserve(first, huge, 3), ENODEV);
  puts("gone");
  fflush(stdout);
  close(device);
  return 0;
}

static int restore(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  CHECK_ERRNO(retrieve_session(device, "third"), ENOENT);
  int first = retrieve_session(device, "first"), second = retrieve_session(device, "second");
  CHECK(first >= 0 && second >= 0);
  CHECK_ERRNO(retrieve_fd(first, 5), ENOENT);
  for (int i = 2; i >= 0; --i) {
    char wanted[32], found[32] = "";
    sprintf(wanted, "content %d", i);
    int fd = retrieve_fd(first, (uint64_t)i << 40);
    CHECK(fd >= 0);
    CHECK(lseek(fd, 0, SEEK_CUR) == 5 + i);
    CHECK(pread(fd, found, strlen(wanted), 0) == (ssize_t)strlen(wanted) && strcmp(found, wanted) == 0);
    struct stat info;
    CHECK(fstat(fd, &info) == 0 && info.st_size == 8192 * (i + 1) + 100);
    char* mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(mapped != MAP_FAILED && memcmp(mapped, wanted, strlen(wanted)) == 0);
    mapped[0] = '!';
    CHECK(ftruncate(fd, 4096) == 0);
  }
  int huge = retrieve_fd(second, 1);
  char text[16] = "";
  struct stat info;
  CHECK(huge >= 0 && fstat(huge, &info) == 0 && info.st_size == kHuge);
  CHECK(pread(huge, text, 6, kHuge / 2 + 4093) == 6 && memcmp(text, "middle", 6) == 0);
  CHECK(pread(huge, text, 3, kHuge - 3) == 3 && memcmp(text, "end", 3) == 0);
  CHECK(pread(huge, text, 4, kHuge / 4) == 4 && memcmp(text, "\0\0\0\0", 4) == 0);
  struct finish_request finish = {sizeof finish, 0};
  CHECK(ioctl(first, FINISH, &finish) == 0 && ioctl(second, FINISH, &finish) == 0);
  return 0;
}

static atomic_int busy_device;
static atomic_bool replaced;
static _Atomic unsigned acknowledged[8];
static int last[8];
enum { kEnough = 60 };

/* Creates and keeps sessions until the kernel is another one. */
static void* keep_busy(void* argument) {
  long number = (long)argument;
  char name[64], found[64];
  while (!replaced) {
    unsigned count = acknowledged[number];
    if (count == kEnough) {  /* sessions enough; it is still busy */
      struct name_request request = {sizeof request, 0, ""};
      if (ioctl(last[number], GET_NAME, &request) != 0) {
        CHECK(errno == ENODEV);
        replaced = 1;
      }
      continue;
    }
    sprintf(name, "b%ld-%u", number, count);
    int session = try_create(busy_device, name);
    if (session < 0) {
      CHECK(errno == ENODEV);
      replaced = 1;
      break;
    }
    last[number] = session;
    acknowledged[number] = count + 1;
    if (get_name(session, found) != 0) {
      CHECK(errno == ENODEV);
      replaced = 1;
      break;
    }
    CHECK(strcmp(found, name) == 0);
  }
  return NULL;
}

/* Prints "busy" once every thread has a session; when the kernel is another, every session that it was told of is there. */
static int busy(int argc, char** argv) {
  (void)argc, (void)argv;
  busy_device = open_device(O_CLOEXEC);
  pthread_t all[8];
  for (long i = 0; i < 8; ++i) CHECK(pthread_create(&all[i], NULL, keep_busy, (void*)i) == 0);
  for (int i = 0; i < 8; ++i)
    while (acknowledged[i] == 0) usleep(1000);
  puts("busy");
  fflush(stdout);
  for (int i = 0; i < 8; ++i) CHECK(pthread_join(all[i], NULL) == 0);
  int device = open_device(O_CLOEXEC);
  char name[64];
  for (long i = 0; i < 8; ++i) {
    for (unsigned n = 0; n < acknowledged[i]; ++n) {
      sprintf(name, "b%ld-%u", i, n);
      int session = retrieve_session(device, name);
      CHECK(session >= 0);
      struct finish_request finish = {sizeof finish, 0};
      CHECK(ioctl(session, FINISH, &finish) == 0);
      close(session);
    }
  }
  return 0;
}

/* Prints "saved"; after a line on standard input its session must be usable: the live update did not happen. */
static int survive_failed_update(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "kept");
  int memory = make_memory(8192, "kept");
  CHECK(try_preserve(session, memory, 1) == 0);
  puts("saved");
  fflush(stdout);
  char line[16];
  if (fgets(line, sizeof line, stdin) == NULL) return 1;
  check_name(session, "kept");
  CHECK_ERRNO(try_preserve(session, memory, 1), EEXIST);
  CHECK(try_preserve(session, make_memory(4096, "x"), 2) == 0);
  check_name(create_session(device, "another"), "another");
  return 0;
}

const struct scenario handover_scenarios[] = {
    {"save", save},
    {"restore", restore},
    {"busy", busy},
    {"survive_failed_update", survive_failed_update},
    {NULL, NULL},
};
