// Explains a hang while it happens, from outside: nothing is asked of the program, no signal sent, nothing stopped or locked.
//
//   Watchdog watchdog(recordings, 5'000'000'000);
//   while (running) for (const Finding& hang : watchdog.look(monotonic_ns())) tell(hang);
//
// Each tracked thread says in its recording what it holds and what it waits for (dept::ThreadState), and the kernel whether it has
// run since. Only threads of which nothing has changed for the whole time, over several looks, are spoken of. They are stuck if
// - what they wait for is held, or would be done, by threads that are stuck: a circle of owners; or
// - every thread of the process waits, without a time limit, for something that only this process can bring about.
// Those that wait for an event whose usual makers are all stuck, while others only sleep, are likely so.
//
// A program that goes on after all proves the watchdog wrong: taken_back() says which findings hold no longer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "findings/recordings.h"

namespace causeway::findings {

// A task as the kernel sees it: /proc/PID/task/TID/stat.
struct Task {
  char state = '?';    // R: it runs, or would if there were a processor
  uint64_t ticks = 0;  // that it ran
};
using Tasks = std::map<int, Task>;
Tasks tasks_of(int pid);

// Since when nothing has changed about a task.
struct Quiet {
  uint64_t mark = 0;  // hash of what it waits for, what it holds, and how long it ran
  uint64_t since_ns = 0;
  unsigned looks = 0;
  uint32_t sequence = 0;
  uint64_t waits_since_ns = 0;
};
using QuietTasks = std::map<std::pair<const Recording*, int>, Quiet>;

class Watchdog {
 public:
  // Waits shorter than `hang_ns` are none.
  Watchdog(Recordings& recordings, uint64_t hang_ns, std::function<Tasks(int pid)> tasks = tasks_of)
      : recordings_(recordings), hang_ns_(hang_ns), tasks_(std::move(tasks)) {}

  // What is stuck now, each picture once.
  std::vector<Finding> look(uint64_t now_ns);
  // Ids of findings told before whose threads have moved on since, or whose process ended all the same. Each once.
  std::vector<std::string> taken_back();
  // What every thread does at the moment, in words: for who asks (Ctrl-C), stuck or not.
  std::string picture(uint64_t now_ns);

 private:
  struct Told {
    const Recording* recording;
    std::string id;
    bool is_certain;
    std::vector<std::pair<dept::ThreadId, uint32_t>> waits;  // and their sequences
  };

  Recordings& recordings_;
  uint64_t hang_ns_;
  std::function<Tasks(int pid)> tasks_;
  std::set<std::string> seen_;  // pictures judged already
  std::vector<Told> told_;
  QuietTasks quiet_;
};

}  // namespace causeway::findings
