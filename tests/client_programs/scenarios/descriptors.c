/* dup, close, poll, flags, limits: a descriptor of the device is a descriptor. */
#define _GNU_SOURCE
#include "scenario.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static int duplicates(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "dup");
  int second = dup(session), third = fcntl(session, F_DUPFD_CLOEXEC, 100);
  int fourth = open("/dev/null", O_RDONLY);
  CHECK(second >= 0 && third >= 100 && dup2(session, fourth) == fourth);
  close(session);
  check_name(second, "dup");
  close(second);
  CHECK_ERRNO(try_create(device, "dup"), EEXIST);
  close(fourth);
  check_name(third, "dup");
  CHECK(dup2(device, third) == third); /* the last descriptor of the session */
  session = create_session(third, "dup");
  check_name(session, "dup");
  close(device);
  CHECK_ERRNO(open(DEVICE, O_RDWR), EBUSY); /* `third` has it open */
  close(third);
  close(open_device(0));
  return 0;
}

static int exclusive_open(int argc, char** argv) {
  (void)argc, (void)argv;
  for (int i = 0; i < 1000; ++i) {
    int device = open_device(0);
    CHECK_ERRNO(open(DEVICE, O_RDWR), EBUSY);
    CHECK(close(device) == 0);
  }
  return 0;
}

static int flags(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(0);
  CHECK(fcntl(device, F_GETFD) == 0);
  int session = create_session(device, "flags");
  CHECK(fcntl(session, F_GETFD) == FD_CLOEXEC);
  close(device);
  device = open_device(O_CLOEXEC);
  CHECK(fcntl(device, F_GETFD) == FD_CLOEXEC);
  CHECK(ioctl(device, FIONCLEX) == 0 && fcntl(device, F_GETFD) == 0);
  CHECK(ioctl(device, FIOCLEX) == 0 && fcntl(device, F_GETFD) == FD_CLOEXEC);
  int on = 1;
  CHECK(ioctl(device, FIONBIO, &on) == 0 && (fcntl(device, F_GETFL) & O_NONBLOCK) != 0);
  check_name(session, "flags");
  return 0;
}

static int polling(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "poll");
  struct pollfd both[2] = {{device, POLLIN | POLLOUT, 0}, {session, POLLIN | POLLOUT, 0}};
  CHECK(poll(both, 2, 10000) == 2); /* files without a poll operation are always ready */
  CHECK((both[0].revents & (POLLIN | POLLOUT)) == (POLLIN | POLLOUT));
  CHECK((both[1].revents & (POLLERR | POLLHUP | POLLNVAL)) == 0);
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(session, &readable);
  struct timeval patience = {10, 0};
  CHECK(select(session + 1, &readable, NULL, NULL, &patience) == 1 && FD_ISSET(session, &readable));
  return 0;
}

static int closing_everything(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "kept");
  CHECK(dup2(session, 3) == 3);
  for (int i = 0; i < 100; ++i) {
    if (i % 2 == 0) {
      CHECK(syscall(SYS_close_range, 4, ~0U, 0) == 0);
    } else {
      for (int fd = 4; fd < 5000; ++fd) close(fd);
    }
    check_name(3, "kept");
    int again = open_device(O_CLOEXEC); /* also what needs a descriptor sent */
    int other = create_session(again, "other");
    int reused = open("/dev/null", O_RDWR); /* a number that was ours perhaps */
    check_name(other, "other");
    close(reused);
  }
  return 0;
}

static int no_descriptors_left(int argc, char** argv) {
  (void)argc, (void)argv;
  int device = open_device(O_CLOEXEC);
  int session = create_session(device, "before");
  struct rlimit limit, before;
  CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
  limit = before;
  limit.rlim_cur = 40;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  int last = -1;
  for (int fd; (fd = open("/dev/null", O_RDWR)) >= 0;) last = fd;
  CHECK(errno == EMFILE);
  for (int i = 0; i < 30; ++i) {
    CHECK_ERRNO(try_create(device, "during"), EMFILE);
    if (i % 10 == 0) usleep(2000); /* long enough for the other side to fall asleep */
  }
  check_name(session, "before");
  close(last);
  int during = create_session(device, "during"); /* nothing of the failed ones is left */
  check_name(during, "during");
  CHECK_ERRNO(try_create(device, "more"), EMFILE);
  CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
  check_name(create_session(device, "more"), "more");
  return 0;
}

static int first_call_without_descriptors(int argc, char** argv) {
  (void)argc, (void)argv;
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = 3;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK_ERRNO(open(DEVICE, O_RDWR), EMFILE);
  limit.rlim_cur = 64;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  open_device(0);
  return 0;
}

static int looks(int argc, char** argv) {
  (void)argc, (void)argv;
  struct stat info;
  CHECK(stat(DEVICE, &info) == 0 && S_ISCHR(info.st_mode) && (info.st_mode & 0777) == 0600 && major(info.st_rdev) == 10);
  CHECK(lstat("//dev/./liveupdate", &info) == 0 && S_ISCHR(info.st_mode));
  CHECK(fstatat(AT_FDCWD, DEVICE, &info, 0) == 0 && S_ISCHR(info.st_mode));
  struct statx extended;
  CHECK(statx(AT_FDCWD, DEVICE, 0, STATX_TYPE | STATX_MODE, &extended) == 0 && S_ISCHR(extended.stx_mode));
  CHECK(access(DEVICE, F_OK) == 0 && access(DEVICE, R_OK | W_OK) == 0);
  CHECK_ERRNO(access(DEVICE, X_OK), EACCES);
  CHECK(faccessat(AT_FDCWD, DEVICE, R_OK, AT_EACCESS) == 0);
  CHECK_ERRNO(stat("/dev/liveupdate2", &info), ENOENT);
  CHECK_ERRNO(open("/dev/liveupdate/x", O_RDWR), ENOENT);
  int fd = open("/dev//liveupdate", O_RDWR);
  CHECK(fd >= 0);
  return 0;
}

const struct scenario descriptor_scenarios[] = {
    {"duplicates", duplicates},
    {"exclusive_open", exclusive_open},
    {"flags", flags},
    {"polling", polling},
    {"closing_everything", closing_everything},
    {"no_descriptors_left", no_descriptors_left},
    {"first_call_without_descriptors", first_call_without_descriptors},
    {"looks", looks},
    {NULL, NULL},
};
