// An arena filled by hand, as a tracker would have done it, in a file that can be opened as another process's.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/unique_fd.h"
#include "dept/graph.h"

namespace causeway::findings {

class Recorded {
 public:
  static constexpr dept::Arena::Capacity kSmall = {.classes = 256, .objects = 256, .edges = 256, .witnesses = 256, .threads = 64,
                                                   .thread_states = 16, .stacks = 256, .frames = 1024, .string_bytes = 1u << 14,
                                                   .modules = 16, .reports = 64, .clock_words = 1024, .waiters = 16};
  explicit Recorded(const std::string& path = "")
      : fd(path.empty() ? ::memfd_create("arena", MFD_CLOEXEC) : ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    EXPECT_EQ(arena.create(fd.get(), kSmall), 0);
    arena.header().program = index_of(arena.intern("/usr/bin/prog"));
  }

  dept::ThreadId thread(const char* name, int tid, uint64_t start_routine = 0, dept::StackId created = dept::StackId::kNone) {
    dept::ThreadId id;
    dept::Thread* made = arena.add<dept::Thread>(&id);
    std::strncpy(made->name, name, sizeof made->name - 1);
    made->tid = tid;
    made->start_routine = start_routine;
    made->created = created;
    made->level = index_of(id) == 1 ? 0 : 1;
    made->creator = index_of(id) == 1 ? dept::ThreadId::kNone : dept::ThreadId(1);
    return id;
  }
  dept::ObjectId object(dept::Kind kind, uint64_t address, uint64_t key, const char* name = "") {
    dept::ObjectId id;
    dept::Object* made = arena.add<dept::Object>(&id);
    made->kind = kind;
    made->address = address;
    made->key = key;
    made->name = arena.intern(name);
    graph.class_of(id, dept::Event::kWrite);
    return id;
  }
  dept::StackId stack(std::initializer_list<const char*> lines) {
    std::vector<dept::Frame> frames;
    for (const char* line : lines) frames.push_back(dept::Frame::source(arena.intern(line)));
    return arena.intern(frames.data(), static_cast<unsigned>(frames.size()));
  }
  dept::ReportId depends(dept::ThreadId thread, dept::ObjectId from, dept::ObjectId to, dept::StackId start, dept::StackId wait,
                         uint32_t flags = dept::Witness::kOwned) {
    dept::Witness witness{};
    witness.thread = thread;
    witness.from_object = from;
    witness.to_object = to;
    witness.start = start;
    witness.wait = wait;
    witness.flags = flags;
    return graph.depend(graph.class_of(from, dept::Event::kWrite), graph.class_of(to, dept::Event::kWrite), witness);
  }
  // a and b in both orders by two threads.
  dept::ReportId two_locks() {
    thread("prog", 100);
    const auto first = thread("reader", 101), second = thread("writer", 102);
    const auto a = object(dept::Kind::kMutex, 0x1000, 1, "a"), b = object(dept::Kind::kMutex, 0x2000, 2, "b");
    depends(first, a, b, stack({"a.cc:1 f"}), stack({"a.cc:2 f", "a.cc:9 main"}));
    return depends(second, b, a, stack({"a.cc:3 g"}), stack({"a.cc:4 g"}));
  }

  UniqueFd fd;
  dept::Arena arena;
  dept::Graph graph{arena, nullptr, {.order = false}};
};

}  // namespace causeway::findings
