#include "program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace causeway::tests {
namespace {

[[noreturn]] void become(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

std::string program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

Finished run(const std::vector<std::string>& words) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) return {};
  pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(out[1], STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    become(words);
  }
  ::close(out[1]);
  ::close(err[1]);
  Finished finished;
  pollfd readable[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  std::string* text[2] = {&finished.out, &finished.err};
  while (readable[0].fd >= 0 || readable[1].fd >= 0) {
    ::poll(readable, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (readable[i].fd < 0 || readable[i].revents == 0) continue;
      char buffer[4096];
      ssize_t count = ::read(readable[i].fd, buffer, sizeof buffer);
      if (count > 0) {
        text[i]->append(buffer, static_cast<size_t>(count));
      } else {
        ::close(readable[i].fd);
        readable[i].fd = -1;
      }
    }
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) finished.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) finished.signal = WTERMSIG(status);
  return finished;
}

pid_t start_in_group(const std::vector<std::string>& words, const std::string& directory) {
  pid_t pid = ::fork();
  if (pid != 0) {
    ::setpgid(pid, pid);  // here too, so that it is done when we return
    return pid;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  if (::chdir(directory.c_str()) != 0) ::_exit(127);
  ::setenv("TMPDIR", directory.c_str(), 1);
  int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  become(words);
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "causeway-test-XXXXXX";
  path_ = ::mkdtemp(pattern.data());
}
TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}
bool TemporaryDirectory::empty() const { return std::filesystem::is_empty(path_); }

void sleep_ms(unsigned ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/task/{}/children", pid, pid));
  std::vector<pid_t> children;
  for (pid_t child; file >> child;) children.push_back(child);
  return children;
}

bool is_dead(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return true;
  size_t paren = text.rfind(')');
  return paren == std::string::npos || text.size() < paren + 3 || text[paren + 2] == 'Z' || text[paren + 2] == 'X';
}

std::vector<std::string> abstract_sockets(const std::string& part) {
  std::ifstream file("/proc/net/unix");
  std::vector<std::string> found;
  for (std::string line; std::getline(file, line);) {
    size_t at = line.find(" @");
    if (at != std::string::npos && line.find(part, at) != std::string::npos) found.push_back(line.substr(at + 1));
  }
  return found;
}

}  // namespace causeway::tests
