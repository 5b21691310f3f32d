// A small program, run with the library or without it, and the arenas that it left behind.
//
//   TrackedRun run = TrackedRun::with_library("locks");            // testing/programs/locks_main.cc
//   EXPECT_EQ(run.status, 0);
//   EXPECT_EQ(run.arenas.front()->counted(Counter::kReports), 0);
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "dept/arena.h"

namespace causeway::interpose {

// Of the build: where the programs lie, and the library.
extern const char* const kPrograms;
extern const char* const kLibrary;

struct TrackedRun {
  int status = -1;           // as of wait(2)
  std::string out, err;
  std::vector<std::unique_ptr<dept::Arena>> arenas;  // in the order of their names

  static TrackedRun plain(const std::string& program) { return run(program, {}, false, true, ""); }
  static TrackedRun with_library(const std::string& program, const std::vector<std::string>& arguments = {},
                                 const std::string& options = "") {
    return run(program, arguments, true, true, options);
  }
  static TrackedRun without_directory(const std::string& program) { return run(program, {}, true, false, ""); }

  bool exited_well() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

 private:
  static std::string contents(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  static TrackedRun run(const std::string& program, const std::vector<std::string>& arguments, bool library, bool directory,
                        const std::string& options) {
    TrackedRun result;
    // In memory where there is such a place: the first touch of a page of a file on a disk takes its journal along.
    const bool shm = access("/dev/shm", W_OK) == 0;
    std::string name = std::string(shm ? "/dev/shm" : "/tmp") + "/dept-test-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) return result;
    const std::filesystem::path place(name);
    const std::string path = program.front() == '/' ? program : std::string(kPrograms) + "/dept_" + program;
    std::vector<std::string> words{path};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables;
    for (char** at = environ; *at != nullptr; ++at) {
      const std::string variable(*at);
      if (!variable.starts_with("LD_PRELOAD=") && !variable.starts_with("CAUSEWAY_DEPT_")) variables.push_back(variable);
    }
    if (library) variables.push_back(std::string("LD_PRELOAD=") + kLibrary);
    if (library && directory) variables.push_back("CAUSEWAY_DEPT_DIR=" + place.string());
    if (!options.empty()) variables.push_back("CAUSEWAY_DEPT_OPTIONS=" + options);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, (place / "out").c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, (place / "err").c_str(), O_WRONLY | O_CREAT, 0600);
    pid_t pid;
    if (posix_spawn(&pid, path.c_str(), &actions, nullptr, pointers(words).data(), pointers(variables).data()) == 0) {
      waitpid(pid, &result.status, 0);
    }
    posix_spawn_file_actions_destroy(&actions);
    result.out = contents(place / "out");
    result.err = contents(place / "err");
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(place)) {
      if (entry.path().extension() == ".dept") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
      auto arena = std::make_unique<dept::Arena>();
      if (arena->open(fd) == 0) result.arenas.push_back(std::move(arena));
      close(fd);
    }
    std::filesystem::remove_all(place);
    return result;
  }

  static std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> result;
    for (std::string& word : words) result.push_back(word.data());
    result.push_back(nullptr);
    return result;
  }
};

}  // namespace causeway::interpose
