/* fork, exec, threads, signals: who has a session open, and when it ends. */
#define _GNU_SOURCE
#include "scenario.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

extern char** environ;

static int forking(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "fork");
  int hold[2];
  CHECK(pipe(hold) == 0);
  pid_t child = fork();
  if (child == 0) {
    close(hold[1]);
    check_name(session, "fork");
    int own = create_session(device, "child");
    check_name(own, "child");
    char byte;
    CHECK(read(hold[0], &byte, 1) == 1);
    _exit(0);
  }
  for (int i = 0; i < 100; ++i) check_name(session, "fork"); /* both at once */
  close(session);
  CHECK_ERRNO(try_create(device, "fork"), EEXIST); /* the child has it */
  CHECK(write(hold[1], "x", 1) == 1);
  wait_for(child);
  create_session(device, "fork");
  create_session(device, "child");
  return 0;
}

/* As sandboxes do it: no handler of the C library runs. */
static int bare_fork(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "bare");
  for (int i = 0; i < 20; ++i) {
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
      for (int n = 0; n < 50; ++n) check_name(session, "bare");
      _exit(0);
    }
    for (int n = 0; n < 50; ++n) check_name(session, "bare");
    wait_for(child);
  }
  return 0;
}

static int killed(int argc, char** argv) {
  (void)argc, (void)argv;
  for (int i = 0; i < 20; ++i) {
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
      int device = open_device(O_CLOEXEC);
      int session = create_session(device, "killed");
      CHECK(try_preserve(session, make_memory(8192, "x"), 1) == 0);
      CHECK(write(ready[1], "x", 1) == 1);
      char name[64];
      for (;;) get_name(session, name);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    int device = open_device(O_CLOEXEC); /* not EBUSY any more */
    create_session(device, "killed");
    close(device);
    syscall(SYS_close_range, 3, ~0U, 0);
  }
  return 0;
}

static int exec_image(int argc, char** argv) {
  CHECK(argc == 3);
  int device = atoi(argv[1]), session = atoi(argv[2]);
  check_name(session, "exec");
  CHECK_ERRNO(open(DEVICE, O_RDWR), EBUSY);
  check_name(create_session(device, "new"), "new");
  create_session(device, "closed"); /* it was close-on-exec in the old image */
  return 0;
}

static int exec(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(0);
  int session = create_session(device, "exec");
  create_session(device, "closed");
  CHECK(fcntl(session, F_SETFD, 0) == 0);
  char first[16], second[16];
  sprintf(first, "%d", device);
  sprintf(second, "%d", session);
  execl("/proc/self/exe", "scenario", "exec_image", first, second, NULL);
  CHECK(!"execl returned");
  return 1;
}

static int spawning(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(0);
  int session = create_session(device, "exec");
  CHECK(fcntl(session, F_SETFD, 0) == 0);
  char first[16], second[16];
  sprintf(first, "%d", device);
  sprintf(second, "%d", session);
  char* words[] = {"scenario", "exec_image", first, second, NULL};
  pid_t child;
  CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environ) == 0);
  wait_for(child);
  child = vfork();
  if (child == 0) {
    execv("/proc/self/exe", words);
    _exit(9);
  }
  wait_for(child);
  check_name(session, "exec");
  create_session(device, "new"); /* the children's is gone */
  return 0;
}

static int passing(int argc, char** argv) {
  (void)argc, (void)argv;
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    int session = receive_descriptor(ends[1]);
    check_name(session, "passed");
    CHECK(write(ends[1], "1", 1) == 1);
    char byte;
    CHECK(read(ends[1], &byte, 1) == 1); /* the sender has closed its own */
    check_name(session, "passed");
    CHECK(write(ends[1], "2", 1) == 1);
    CHECK(read(ends[1], &byte, 1) == 1);
    close(session); /* the last close, here */
    CHECK(write(ends[1], "3", 1) == 1);
    _exit(0);
  }
  close(ends[1]);
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "passed");
  send_descriptor(ends[0], session);
  char byte;
  CHECK(read(ends[0], &byte, 1) == 1);
  close(session);
  CHECK_ERRNO(try_create(device, "passed"), EEXIST);
  CHECK(write(ends[0], "x", 1) == 1 && read(ends[0], &byte, 1) == 1);
  CHECK_ERRNO(try_create(device, "passed"), EEXIST);
  CHECK(write(ends[0], "x", 1) == 1 && read(ends[0], &byte, 1) == 1);
  create_session(device, "passed");
  wait_for(child);
  return 0;
}

static int shared_device;

static void* many_sessions(void* argument) {
  char name[32];
  for (int i = 0; i < 20; ++i) {
    sprintf(name, "t%ld-%d", (long)argument, i);
    int session = create_session(shared_device, name);
    int memory = make_memory(4096, name);
    CHECK(try_preserve(session, memory, 7) == 0);
    CHECK_ERRNO(try_preserve(session, memory, 7), EEXIST);
    check_name(session, name);
    close(memory);
    close(session);
    session = create_session(shared_device, name); /* its name is free again at once */
    close(session);
  }
  return NULL;
}

static int threads(int argc, char** argv) {
  (void)argc, (void)argv;
  shared_device = open_device(O_CLOEXEC);
  pthread_t all[16];
  for (int round = 0; round < 2; ++round) {
    for (long i = 0; i < 16; ++i) CHECK(pthread_create(&all[i], NULL, many_sessions, (void*)i) == 0);
    for (int i = 0; i < 16; ++i) CHECK(pthread_join(all[i], NULL) == 0);
  }
  return 0;
}

static int signal_session;
static volatile sig_atomic_t handled, handler_failed;

static void call_in_handler(int signal) {
  (void)signal;
  int before = errno;
  char name[64];
  if (get_name(signal_session, name) != 0 || strcmp(name, "signal") != 0) handler_failed = 1;
  ++handled;
  errno = before;
}

static int signals(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  signal_session = create_session(device, "signal");
  struct sigaction action = {.sa_handler = call_in_handler, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 0; handled < 300; ++i) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(now.tv_sec - begin.tv_sec < 20);
    check_name(signal_session, "signal");
    int session = create_session(device, "between"); /* never half of one, never one twice */
    check_name(session, "between");
    close(session);
  }
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  CHECK(!handler_failed);
  return 0;
}

static void on_term(int signal) { (void)signal; _exit(42); }

/* Says "ready", then waits for SIGTERM. */
static int wait_for_signal(int argc, char** argv) {
  (void)argc, (void)argv;
  signal(SIGTERM, on_term);
  puts("ready");
  fflush(stdout);
  pause();
  return 1;
}

static int exit_with(int argc, char** argv) {
  CHECK(argc == 2);
  return atoi(argv[1]);
}
static int die_by(int argc, char** argv) {
  CHECK(argc == 2);
  signal(atoi(argv[1]), SIG_DFL);
  kill(getpid(), atoi(argv[1]));
  return 1;
}

/* Leaves a process with session NAME open behind; prints its number. */
static int leave_daemon(int argc, char** argv) {
  CHECK(argc == 2);
  int device = open_device(O_CLOEXEC);
  create_session(device, argv[1]);
  close(device);
  pid_t child = fork();
  if (child == 0) {
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    for (;;) pause();
  }
  printf("%d\n", (int)child);
  return 0;
}

/* Whether session NAME exists: exit status 17 if so, 0 if not. */
static int is_taken(int argc, char** argv) {
  CHECK(argc == 2);
  int device = open_device(O_CLOEXEC);
  if (try_create(device, argv[1]) >= 0) return 0;
  CHECK(errno == EEXIST);
  return 17;
}

/* A VMM's own filter: it knows nothing of the calls that serve it here. */
static int own_filter(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  struct session_request* request = calloc(1, sizeof *request);
  request->size = sizeof *request;
  strcpy(request->name, "filtered");
  CHECK(ioctl(device, CREATE_SESSION, request) == 0);
  return 0;
}

const struct scenario process_scenarios[] = {
    {"own_filter", own_filter},
    {"forking", forking},
    {"bare_fork", bare_fork},
    {"killed", killed},
    {"exec", exec},
    {"exec_image", exec_image},
    {"spawning", spawning},
    {"passing", passing},
    {"threads", threads},
    {"signals", signals},
    {"wait_for_signal", wait_for_signal},
    {"exit_with", exit_with},
    {"die_by", die_by},
    {"leave_daemon", leave_daemon},
    {"is_taken", is_taken},
    {NULL, NULL},
};
