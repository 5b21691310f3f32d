// What the threads of one process hold and wait for at a moment, read from its recording while it changes. Private to this room.
#pragma once

#include <cstdint>
#include <vector>

#include "dept/arena.h"

namespace causeway::findings {

struct HeldNow {
  dept::ObjectId object;
  dept::ClassId cls;
  dept::StackId stack;
  uint64_t site;
  dept::Event event;
};

struct ThreadNow {
  dept::ThreadId thread;
  int tid = 0;
  uint32_t sequence = 0;
  bool waits = false;
  bool timed = false;
  dept::ObjectId object{};   // that it waits for
  dept::ClassId cls{};
  dept::StackId stack{};
  uint64_t site = 0;
  uint64_t since_ns = 0;     // who looks has a clock, and fills it in
  dept::Event event = dept::Event::kWrite;
  std::vector<HeldNow> held;
};

// Threads that have a state. What was changing while it was read is said to run.
std::vector<ThreadNow> snapshot(const dept::Arena& arena);

}  // namespace causeway::findings
