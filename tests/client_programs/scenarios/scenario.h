/* Small programs for Linux, each a function: what they expect is what Linux does. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../liveupdate_uapi.h"

#define DEVICE "/dev/liveupdate"

/* Ends the process; its parent sees status 1. */
#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "%s:%d: pid %d: %s (errno %d, %s)\n", __FILE__, __LINE__, (int)getpid(),        \
              #condition, errno, strerror(errno));                                                    \
      exit(1);                                                                                        \
    }                                                                                                 \
  } while (0)
#define CHECK_ERRNO(call, wanted) CHECK((errno = 0, (call) == -1 && errno == (wanted)))

int open_device(int flags);                      /* checked */
int create_session(int device, const char* name);
int try_create(int device, const char* name);    /* a descriptor, or -1 and errno */
int try_preserve(int session, int fd, uint64_t token);
int get_name(int session, char name[64]);        /* the ioctl's result */
void check_name(int session, const char* name);
int make_memory(size_t size, const char* text);  /* a memfd */
void wait_for(pid_t child);                      /* it must exit with 0 */
void send_descriptor(int socket, int fd);
int receive_descriptor(int socket);

struct scenario { const char* name; int (*run)(int argc, char** argv); };
extern const struct scenario descriptor_scenarios[], memory_scenarios[], process_scenarios[], handover_scenarios[];

#endif
