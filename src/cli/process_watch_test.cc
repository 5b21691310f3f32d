#include "cli/process_watch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "server/control.h"

namespace causeway::cli {
namespace {

// A process that listens on an abstract socket until it is killed.
class Listener {
 public:
  explicit Listener(const std::string& name) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      auto socket = server::listen_on(name, SOCK_STREAM);
      char byte = socket ? 'y' : 'n';
      (void)!::write(ready[1], &byte, 1);
      while (true) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_EQ(byte, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Listener() { end(); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  int pid() const { return pid_; }

 private:
  pid_t pid_;
};

std::string unique_name() { return "causeway-watch-test-" + std::to_string(::getpid()); }

TEST(ProcessWatch, SeesTheEndOfTheProcessBehindASocket) {
  Listener listener(unique_name());
  auto socket = server::connect_to(unique_name(), SOCK_STREAM);
  ASSERT_TRUE(socket.has_value());
  auto watch = ProcessWatch::of_peer(socket->get());
  ASSERT_TRUE(watch.has_value());
  EXPECT_EQ(watch->pid(), listener.pid());
  EXPECT_FALSE(watch->wait(0));
  EXPECT_FALSE(watch->wait(5));
  listener.end();
  EXPECT_TRUE(watch->wait(0)) << "one that has been reaped counts as ended";
}

TEST(ProcessWatch, BadDescriptorIsAnError) {
  auto watch = ProcessWatch::of_peer(-1);
  ASSERT_FALSE(watch.has_value());
  EXPECT_EQ(watch.error().code, Errno{EBADF});
}

}  // namespace
}  // namespace causeway::cli
