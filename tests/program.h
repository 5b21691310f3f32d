// Runs a program to its end and keeps what it said.
//
//   Finished demo = run({program("causeway"), "demo", "--json"});
//   EXPECT_EQ(demo.status, 0) << demo.err;
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace causeway::tests {

struct Finished {
  int status = -1;  // exit status; -1: killed by `signal`
  int signal = 0;
  std::string out;
  std::string err;
};

// The path of a program in the directory this test lies in.
std::string program(const std::string& name);

Finished run(const std::vector<std::string>& words);

// Starts it in a process group, working directory and TMPDIR of its own, its output going nowhere.
pid_t start_in_group(const std::vector<std::string>& words, const std::string& directory);

// A directory under /tmp that is removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }
  bool empty() const;

 private:
  std::string path_;
};

// Polls `condition` until it holds; false after `patience`.
template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds patience = std::chrono::seconds(20));
void sleep_ms(unsigned ms);

template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds patience) {
  for (auto end = std::chrono::steady_clock::now() + patience; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    sleep_ms(2);
  }
  return condition();
}

// Of all processes started by `pid`, directly.
std::vector<pid_t> children_of(pid_t pid);
// Gone, or a zombie nobody has collected yet.
bool is_dead(pid_t pid);
// The abstract sockets of this system whose name contains `part`.
std::vector<std::string> abstract_sockets(const std::string& part);

}  // namespace causeway::tests
