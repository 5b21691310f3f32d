/* Arguments wherever a program may have them. */
#define _GNU_SOURCE
#include "scenario.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static void create_at(int device, struct session_request* at, const char* name) {
  memset(at, 0, sizeof *at);
  at->size = sizeof *at;
  strcpy(at->name, name);
  CHECK(ioctl(device, CREATE_SESSION, at) == 0);
  check_name(at->fd, name);
  close(at->fd);
}

static void* on_thread_stack(void* argument) {
  struct session_request here;
  create_at(*(int*)argument, &here, "thread");
  return NULL;
}

static struct session_request in_data;

static int argument_places(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  struct session_request on_stack;
  create_at(device, &on_stack, "stack");
  create_at(device, &in_data, "data");
  create_at(device, malloc(sizeof on_stack), "heap");
  char* pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  for (size_t before = 4; before < sizeof on_stack; before += 4) /* across a page's end, never touched before */
    create_at(device, (struct session_request*)(pages + PAGE - before), "border");
  CHECK(munmap(pages + 2 * PAGE, PAGE) == 0);
  create_at(device, (struct session_request*)(pages + 2 * PAGE - sizeof on_stack), "last");
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, on_thread_stack, &device) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  return 0;
}

static int faults(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, NULL), EFAULT);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, (void*)8), EFAULT);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, (void*)-1L), EFAULT);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, (void*)0xffff800000000000UL), EFAULT);
  char* pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  CHECK(munmap(pages + PAGE, PAGE) == 0);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, pages + PAGE), EFAULT);
  /* The first bytes are there, the rest is not: nothing is made. */
  struct session_request* half = (struct session_request*)(pages + PAGE - 12);
  half->size = sizeof *half;
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, half), EFAULT);
  struct session_request request = {sizeof request, -1, "fault"};
  /* Readable, but the descriptor's number cannot be written: as if the call had not been made. */
  memcpy(pages, &request, sizeof request);
  CHECK(mprotect(pages, PAGE, PROT_READ) == 0);
  int next = dup(device);
  close(next);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, pages), EFAULT);
  int now = dup(device);
  CHECK(argc > 1 || now == next); /* a supervisor cannot close a descriptor of the program, only empty it */
  close(now);
  int session = create_session(device, "fault");
  CHECK(mprotect(pages, PAGE, PROT_NONE) == 0);
  CHECK_ERRNO(ioctl(device, CREATE_SESSION, pages), EFAULT);
  CHECK_ERRNO(ioctl(session, GET_NAME, pages), EFAULT);
  check_name(session, "fault");
  CHECK_ERRNO(ioctl(session, _IO(0xBA, 0x10), &request), EINVAL);
  CHECK_ERRNO(try_preserve(session, 999, 1), EBADF);
  return 0;
}

const struct scenario memory_scenarios[] = {
    {"argument_places", argument_places},
    {"faults", faults},
    {NULL, NULL},
};
