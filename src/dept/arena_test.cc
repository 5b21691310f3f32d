#include "dept/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "dept/graph_fixture.h"

namespace causeway::dept {
namespace {

struct File {
  int fd = memfd_create("arena", MFD_CLOEXEC);
  ~File() { ::close(fd); }
};

TEST(Arena, TablesFillAndCountWhatTheyDrop) {
  Arena arena;
  Arena::Capacity capacity = Play::small();
  capacity.edges = 16;
  ASSERT_EQ(arena.create(-1, capacity), 0);
  EdgeId id;
  for (uint32_t i = 1; i < 16; ++i) {
    ASSERT_NE(arena.add<Edge>(&id), nullptr);
    EXPECT_EQ(id, EdgeId(i));
  }
  EXPECT_EQ(arena.add<Edge>(&id), nullptr);
  EXPECT_EQ(id, EdgeId::kNone);
  EXPECT_EQ(arena.take(Table::kEdge, 2), 0u);
  EXPECT_EQ(arena.used<Edge>(), 16u);
  EXPECT_EQ(arena.dropped<Edge>(), 2u);
  EXPECT_EQ(arena.dropped<Class>(), 0u);
}

TEST(Arena, TheDefaultTakesLittleMemory) {
  Arena arena;
  ASSERT_EQ(arena.create(-1, {}), 0);
  EXPECT_LT(arena.header().size, uint64_t{2} << 30);
  EXPECT_LT(arena.memory_used(), 300u << 10);
  arena.intern("x");
  EXPECT_LT(arena.memory_used(), 300u << 10);
}

TEST(Arena, CapacitiesArePowersOfTwo) {
  Arena arena;
  EXPECT_EQ(arena.create(-1, {.edges = 1000}), -EINVAL);
  EXPECT_EQ(arena.create(-1, {.edges = 1}), -EINVAL);
  EXPECT_FALSE(arena.is_open());
}

TEST(Arena, TextsAndStacksAreKeptOnce) {
  Arena arena;
  ASSERT_EQ(arena.create(-1, Play::small()), 0);
  const StringId a = arena.intern("mm.zone");
  EXPECT_EQ(arena.intern(std::string("mm.") + "zone"), a);
  EXPECT_NE(arena.intern("mm.zon"), a);
  EXPECT_EQ(arena.text(a), "mm.zone");
  EXPECT_EQ(arena.text(a).data()[7], 0);
  EXPECT_EQ(arena.intern(""), StringId::kNone);
  EXPECT_EQ(arena.text(StringId::kNone), "");
  EXPECT_EQ(arena.text(StringId(~0u)), "");

  const Frame frames[] = {Frame::pc(0x401000), arena.frame_of(Site::at("zone.cc", 41))};
  const StackId s = arena.intern(frames, 2);
  EXPECT_EQ(arena.intern(frames, 2), s);
  EXPECT_NE(arena.intern(frames, 1), s);
  ASSERT_EQ(arena.frames(s).depth, 2u);
  EXPECT_EQ(arena.frames(s).frame[0].pc(), 0x401000u);
  ASSERT_TRUE(arena.frames(s).frame[1].is_source());
  EXPECT_EQ(arena.text(arena.frames(s).frame[1].source()), "zone.cc:41");
  EXPECT_EQ(arena.frames(StackId::kNone).depth, 0u);
  EXPECT_EQ(arena.intern(nullptr, 0), StackId::kNone);
}

TEST(Arena, FullTextTables) {
  Arena arena;
  ASSERT_EQ(arena.create(-1, Play::small()), 0);
  std::string last;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = "number " + std::to_string(i);
    if (arena.intern(text) == StringId::kNone) break;
    EXPECT_EQ(arena.text(arena.intern(text)), text);
    last = text;
  }
  EXPECT_GT(arena.table(Table::kString).dropped.load(), 0u);
  EXPECT_NE(arena.intern(last), StringId::kNone);
  for (uint64_t i = 1; i < 3000; ++i) {
    const Frame frame = Frame::pc(i);
    arena.intern(&frame, 1);
  }
  EXPECT_EQ(arena.used<Stack>(), 1u << 10);
  EXPECT_GT(arena.dropped<Stack>(), 0u);
}

TEST(Arena, AnotherProcessReadsTheFile) {
  File file;
  Arena arena;
  ASSERT_EQ(arena.create(file.fd, Play::small()), 0);
  Arena reader;
  ASSERT_EQ(reader.open(file.fd), 0);
  const StringId name = arena.intern("late");
  ClassId id;
  arena.add<Class>(&id)->name = name;
  EXPECT_EQ(reader.used<Class>(), 2u);
  EXPECT_EQ(reader.text(reader.at<Class>(id).name), "late");
  EXPECT_EQ(reader.at<Class>(ClassId(77777)).name, StringId::kNone);
  EXPECT_EQ(reader.header().pid, getpid());
  arena.close();
  EXPECT_EQ(reader.text(name), "late");
}

TEST(Arena, WhatIsNoArenaIsRefused) {
  File file;
  Arena reader;
  EXPECT_EQ(reader.open(-1), -EBADF);
  EXPECT_EQ(reader.open(file.fd), -EINVAL);
  ASSERT_EQ(ftruncate(file.fd, 1 << 20), 0);
  EXPECT_EQ(reader.open(file.fd), -EINVAL);
  Arena arena;
  ASSERT_EQ(arena.create(file.fd, Play::small()), 0);
  const uint64_t size = arena.header().size;
  ASSERT_EQ(ftruncate(file.fd, static_cast<off_t>(size - 4096)), 0);
  EXPECT_EQ(reader.open(file.fd), -EINVAL);
  ASSERT_EQ(ftruncate(file.fd, static_cast<off_t>(size)), 0);
  EXPECT_EQ(reader.open(file.fd), 0);
}

// Reads everything that can be reached, as a tool would.
uint64_t read_all(const Arena& arena) {
  uint64_t sum = arena.memory_used();
  for (uint32_t i = 0; i < arena.used<Class>(); ++i) {
    const Class& c = arena.at<Class>(ClassId(i));
    sum += arena.text(c.name).size() + arena.frames(c.site).depth;
    sum += arena.at<Edge>(EdgeId(c.first_out.load())).count;
  }
  for (uint32_t i = 0; i < arena.used<Report>(); ++i) {
    const Report& r = arena.at<Report>(ReportId(i));
    for (const Hop& hop : r.hops) {
      const Witness& w = arena.at<Witness>(hop.witness);
      for (const Frame *f = arena.frames(w.wait).frame, *end = f + arena.frames(w.wait).depth; f != end; ++f) sum += f->raw();
      sum += arena.text(arena.at<Object>(w.to_object).name).size();
    }
  }
  for (uint32_t i = 0; i < arena.used<ThreadState>(); ++i) sum += arena.at<ThreadState>(StateId(i)).held_list[kMaxHeld - 1].wgen;
  for (uint32_t i = 0; i < arena.used<Stack>(); ++i) sum += arena.frames(StackId(i)).depth;
  return sum;
}

TEST(Arena, BitsFlippedAnywhereHurtNobody) {
  File file;
  uint64_t size;
  {
    Arena arena;
    ASSERT_EQ(arena.create(file.fd, Play::small()), 0);
    Graph graph(arena, nullptr);
    size = arena.header().size;
    const Frame frame = Frame::pc(0x1234);
    for (uint32_t i = 1; i < 30; ++i) {
      const ClassId a = graph.class_of(i, 0, {.name = arena.intern("class " + std::to_string(i)), .site = arena.intern(&frame, 1)});
      const ClassId b = graph.class_of(i % 7 + 1, 0, {});
      graph.depend(a, b, {.thread = ThreadId(i), .wait = arena.intern(&frame, 1)});
    }
  }
  auto* bytes = static_cast<unsigned char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0));
  ASSERT_NE(bytes, MAP_FAILED);
  std::vector<std::pair<uint64_t, unsigned char>> good;  // what is not zero
  for (uint64_t i = 0; i < size; ++i) {
    if (bytes[i] != 0) good.emplace_back(i, bytes[i]);
  }
  std::mt19937 random(20251121);
  unsigned opened = 0;
  for (int round = 0; round < 2000; ++round) {
    for (int flips = 0; flips < 4; ++flips) {
      const uint64_t at = flips % 2 == 0 ? random() % 1200 : good[random() % good.size()].first;
      bytes[at] = round % 3 == 0 ? 0xff : static_cast<unsigned char>(bytes[at] ^ (1u << random() % 8));
    }
    Arena reader;
    if (reader.open(file.fd) == 0) {
      ++opened;
      read_all(reader);
    }
    if (round % 4 != 3) continue;
    memset(bytes, 0, 4096);
    for (const auto& [at, byte] : good) bytes[at] = byte;
  }
  munmap(bytes, size);
  EXPECT_GT(opened, 50u);  // else nothing was tested
}

TEST(Arena, FourThreadsInternTheSame) {
  Arena arena;
  ASSERT_EQ(arena.create(-1, Play::small()), 0);
  std::vector<std::vector<StringId>> ids(4);
  std::vector<std::thread> threads;
  for (auto& own : ids) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) own.push_back(arena.intern("text " + std::to_string(i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& own : ids) EXPECT_EQ(own, ids[0]);
  EXPECT_EQ(arena.text(ids[0][999]), "text 999");
}

TEST(EngineLock, KeepsOthersOut) {
  EngineLock lock;
  uint64_t sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) {
        EngineLockGuard hold(lock);
        ++sum;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 80000u);
}

}  // namespace
}  // namespace causeway::dept
