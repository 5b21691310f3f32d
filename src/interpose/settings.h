// What the environment asks for. Read once, without libc; a copy is kept, since the program may change its environment.
//
//   CAUSEWAY_DEPT_DIR=/run/x CAUSEWAY_DEPT_OPTIONS="timeouts=1 noise_us=2000 rwlock=strict predict=0 full_stacks=1 follow=0"
//
//   Environment environment;
//   environment.read(environ);
//   int fd = environment.create_arena_file();       // DIR/PID.dept, or PID.N.dept if that is taken
#pragma once

#include "dept/tracker.h"

namespace causeway::interpose {

class Environment {
 public:
  // Options it does not know are named on standard error.
  void read(char** variables);
  bool has_directory() const { return directory_[0] != '\0'; }
  const dept::Settings& settings() const { return settings_; }
  bool follows() const { return follows_; }
  // Of the calling process; to be closed once it is mapped. A negative errno, which it has said on standard error.
  int create_arena_file() const;
  // Programs that this one starts are not tracked: takes us out of its environment.
  static void forget_us(char** variables);

 private:
  void option(std::string_view name, std::string_view value);

  char directory_[4096] = {};
  dept::Settings settings_;
  bool follows_ = true;
};

}  // namespace causeway::interpose
