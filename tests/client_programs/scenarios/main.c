/* scenario NAME [ARGUMENT]... */
#define _GNU_SOURCE
#include "scenario.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

int open_device(int flags) {
  int fd = open(DEVICE, O_RDWR | flags);
  CHECK(fd >= 0);
  return fd;
}
int try_create(int device, const char* name) {
  struct session_request request = {sizeof request, -1, ""};
  strncpy(request.name, name, sizeof request.name - 1);
  return ioctl(device, CREATE_SESSION, &request) == 0 ? request.fd : -1;
}
int create_session(int device, const char* name) {
  int fd = try_create(device, name);
  CHECK(fd >= 0);
  return fd;
}
int try_preserve(int session, int fd, uint64_t token) {
  struct fd_request request = {sizeof request, fd, token};
  return ioctl(session, PRESERVE_FD, &request);
}
int get_name(int session, char name[64]) {
  struct name_request request = {sizeof request, 0, ""};
  int result = ioctl(session, GET_NAME, &request);
  memcpy(name, request.name, 64);
  return result;
}
void check_name(int session, const char* name) {
  char found[64];
  CHECK(get_name(session, found) == 0);
  CHECK(strcmp(found, name) == 0);
}
int make_memory(size_t size, const char* text) {
  int fd = memfd_create("scenario", MFD_CLOEXEC);
  CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
  CHECK(pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
  return fd;
}
void wait_for(pid_t child) {
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
void send_descriptor(int socket, int fd) {
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  CHECK(sendmsg(socket, &message, 0) == 1);
}
int receive_descriptor(int socket) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  CHECK(recvmsg(socket, &message, 0) == 1);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  CHECK(header != NULL && header->cmsg_type == SCM_RIGHTS);
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

int main(int argc, char** argv) {
  const struct scenario* groups[] = {descriptor_scenarios, memory_scenarios, process_scenarios, handover_scenarios};
  for (size_t i = 0; argc > 1 && i < sizeof groups / sizeof *groups; ++i)
    for (const struct scenario* at = groups[i]; at->name != NULL; ++at)
      if (strcmp(at->name, argv[1]) == 0) return at->run(argc - 1, argv + 1);
  fprintf(stderr, "usage: %s SCENARIO\n", argv[0]);
  return 2;
}
