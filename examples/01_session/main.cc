// The simplest user of a live update: files go into a session, the kernel is replaced, the files come back. Nothing but the
// uAPI of Linux 7.3 is used, so the program is the same on a kernel that has /dev/liveupdate.
//
//   causeway up --name vm
//   causeway run --name vm -- example_session save README.md LICENSE
//   causeway kexec --name vm
//   causeway run --name vm -- example_session restore
//   causeway down --name vm
//
// Token 0 is a list of the names, token 1 and up are the contents: who retrieves has only tokens to go by.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#if __has_include(<linux/liveupdate.h>)
#include <linux/liveupdate.h>
#else
// The part of it that is used here.
struct liveupdate_ioctl_create_session { uint32_t size; int32_t fd; char name[64]; };
struct liveupdate_ioctl_retrieve_session { uint32_t size; int32_t fd; char name[64]; };
struct liveupdate_session_preserve_fd { uint32_t size; int32_t fd; alignas(8) uint64_t token; };
struct liveupdate_session_retrieve_fd { uint32_t size; int32_t fd; alignas(8) uint64_t token; };
struct liveupdate_session_finish { uint32_t size; uint32_t reserved; };
#define LIVEUPDATE_IOCTL_CREATE_SESSION _IO(0xBA, 0x00)
#define LIVEUPDATE_IOCTL_RETRIEVE_SESSION _IO(0xBA, 0x01)
#define LIVEUPDATE_SESSION_PRESERVE_FD _IO(0xBA, 0x40)
#define LIVEUPDATE_SESSION_RETRIEVE_FD _IO(0xBA, 0x41)
#define LIVEUPDATE_SESSION_FINISH _IO(0xBA, 0x42)
#endif

namespace {

constexpr char kSession[] = "example";

int complain(const std::string& what) {
  std::fprintf(stderr, "example_session: %s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

// A new memfd with these contents goes into the session. The session keeps it: our descriptor may be closed.
bool preserve(int session, uint64_t token, const std::string& contents) {
  int fd = ::memfd_create("example", MFD_CLOEXEC);
  bool done = fd >= 0 && ::write(fd, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size());
  liveupdate_session_preserve_fd request{sizeof request, fd, token};
  done = done && ::ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, &request) == 0;
  if (fd >= 0) ::close(fd);
  return done;
}

bool retrieve(int session, uint64_t token, std::string* contents) {
  liveupdate_session_retrieve_fd request{sizeof request, -1, token};
  if (::ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, &request) != 0) return false;
  contents->resize(static_cast<size_t>(::lseek(request.fd, 0, SEEK_END)));
  bool done = ::pread(request.fd, contents->data(), contents->size(), 0) == static_cast<ssize_t>(contents->size());
  ::close(request.fd);
  return done;
}

int save(int device, char** names, int count) {
  liveupdate_ioctl_create_session request{sizeof request, -1, ""};
  std::strcpy(reinterpret_cast<char*>(request.name), kSession);
  if (::ioctl(device, LIVEUPDATE_IOCTL_CREATE_SESSION, &request) != 0) return complain("cannot create the session");
  std::string list;
  for (int i = 0; i < count; ++i) {
    std::ifstream file(names[i], std::ios::binary);
    if (!file) return complain(names[i]);
    std::string contents((std::istreambuf_iterator<char>(file)), {});
    if (!preserve(request.fd, static_cast<uint64_t>(i) + 1, contents)) return complain(std::string("preserve ") + names[i]);
    list += std::string(names[i]) + "\n";
  }
  if (!preserve(request.fd, 0, list)) return complain("preserve the list");
  std::printf("%d file%s in session \"%s\": now update the kernel\n", count, count == 1 ? "" : "s", kSession);
  std::fflush(stdout);
  // A session lives as long as somebody has it open. A real update ends this process; under Causeway it lives on, and
  // learns that the kernel behind the descriptor has gone.
  if (::fork() == 0) {
    ::close(STDIN_FILENO), ::close(STDOUT_FILENO), ::close(STDERR_FILENO);
    pollfd kernel{request.fd, 0, 0};
    ::poll(&kernel, 1, -1);
    ::_exit(0);
  }
  return 0;
}

int restore(int device) {
  liveupdate_ioctl_retrieve_session request{sizeof request, -1, ""};
  std::strcpy(reinterpret_cast<char*>(request.name), kSession);
  if (::ioctl(device, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &request) != 0) return complain("cannot retrieve the session");
  std::string list, contents;
  if (!retrieve(request.fd, 0, &list)) return complain("retrieve the list");
  std::istringstream names(list);
  uint64_t token = 0;
  for (std::string name; std::getline(names, name);) {
    if (!retrieve(request.fd, ++token, &contents)) return complain("retrieve " + name);
    std::printf("%s: %zu bytes, \"%s\"\n", name.c_str(), contents.size(), contents.substr(0, contents.find('\n')).c_str());
  }
  // All that is wanted is here: the kernel may let go of what it kept.
  liveupdate_session_finish finish{sizeof finish, 0};
  if (::ioctl(request.fd, LIVEUPDATE_SESSION_FINISH, &finish) != 0) return complain("finish");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (!(what == "save" && argc > 2) && !(what == "restore" && argc == 2)) {
    std::fprintf(stderr, "usage: example_session save FILE... | example_session restore\n");
    return 2;
  }
  int device = ::open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
  if (device < 0) return complain("/dev/liveupdate");
  return what == "save" ? save(device, argv + 2, argc - 2) : restore(device);
}
