#include "findings/database.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "findings/testing/recorded.h"
#include "findings/union.h"

namespace causeway::findings {
namespace {

using dept::ObjectId;
using dept::ThreadId;
using dept::Witness;

// One run of a program: modules lie elsewhere in each.
class OneRun {
 public:
  OneRun(const std::string& path, uint64_t base, uint8_t build = 1) : base_(base), path_(path), recorded_(path) {
    dept::Arena& arena = recorded_.arena;
    dept::ModuleId id;
    dept::Module& module = *arena.add<dept::Module>(&id);
    module.begin = module.bias = base;
    module.path = arena.intern("/usr/bin/prog");
    module.build_id_size = 1;
    module.build_id[0] = build;
    module.end = base + 0x10000;
    thread(0, 0);
  }
  // `start` of 0: the main thread. Times are of this run; end 0: it runs.
  ThreadId thread(uint64_t start, uint64_t started, uint64_t ended = 0) {
    const ThreadId id = recorded_.thread("", 100, start == 0 ? 0 : base_ + start, dept::StackId::kNone);
    dept::Thread& thread = recorded_.arena.at<dept::Thread>(id);
    thread.started_ns = started;
    thread.ended_ns.store(ended);
    return id;
  }
  ObjectId lock(uint64_t offset) { return recorded_.object(dept::Kind::kMutex, base_ + offset, offset); }
  ObjectId dynamic_lock(uint64_t key) { return recorded_.object(dept::Kind::kMutex, 0x99990000 + base_ + key, key); }
  struct When {
    uint64_t ns = 100;
    uint32_t epoch = 1;
    std::vector<std::pair<ThreadId, uint32_t>> knows = {};
    ObjectId guard = ObjectId::kNone;
  };
  void depends(ThreadId thread, ObjectId from, ObjectId to, const When& when) {
    dept::Arena& arena = recorded_.arena;
    Witness witness{};
    witness.thread = thread;
    witness.from_object = from;
    witness.to_object = to;
    const dept::Frame frame = dept::Frame::pc(base_ + 0x100 + index_of(from));
    witness.start = witness.wait = arena.intern(&frame, 1);
    witness.flags = Witness::kOwned;
    witness.time_ns = when.ns;
    witness.epoch = when.epoch;
    if (when.guard != ObjectId::kNone) witness.guards[witness.guard_count++] = when.guard;
    const uint32_t first = arena.take(dept::Table::kClock, static_cast<uint32_t>(when.knows.size()) + 1);
    auto* words = static_cast<uint64_t*>(arena.record(dept::Table::kClock, first));
    words[0] = when.knows.size();
    for (size_t i = 0; i < when.knows.size(); ++i) words[1 + i] = uint64_t{index_of(when.knows[i].first)} << 32 | when.knows[i].second;
    witness.clock = dept::ClockId(first);
    auto& graph = recorded_.graph;
    graph.depend(graph.class_of(from, dept::Event::kWrite), graph.class_of(to, dept::Event::kWrite), witness);
  }
  dept::Arena& arena() { return recorded_.arena; }
  const std::string& path() const { return path_; }

 private:
  const uint64_t base_;
  const std::string path_;
  Recorded recorded_;
};

class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/database-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    file_ = directory_ + "/db";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<OneRun> run(uint8_t build = 1) {
    const std::string where = directory_ + "/" + std::to_string(++runs_);
    std::filesystem::create_directory(where);
    return std::make_unique<OneRun>(where + "/1.dept", 0x550000000000 + runs_ * 0x1000000, build);
  }
  std::vector<Finding> merge(const OneRun& run) {
    Recordings recordings(run.path());
    EXPECT_TRUE(recordings.look().has_value());
    auto found = Database(file_).merge(recordings.all(), recordings.symbols());
    EXPECT_TRUE(found.has_value()) << (found ? "" : found.error().message);
    return found.value_or(std::vector<Finding>());
  }
  std::string text() const {
    std::stringstream text;
    text << std::ifstream(file_, std::ios::binary).rdbuf();
    return text.str();
  }
  // Two threads that run side by side, each in the same order.
  std::unique_ptr<OneRun> pair(bool crossed, uint8_t build = 1) {
    auto made = run(build);
    const ThreadId one = made->thread(0x10, 10), other = made->thread(0x10, 20);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040);
    for (const ThreadId thread : {one, other})
      made->depends(thread, crossed ? b : a, crossed ? a : b, {.knows = {{ThreadId(1), 1}}});
    return made;
  }

  std::string directory_, file_;
  unsigned runs_ = 0;
};

TEST_F(DatabaseTest, TwoRunsCloseWhatNeitherClosesAlone) {
  EXPECT_TRUE(merge(*pair(false)).empty());
  const std::vector<Finding> found = merge(*pair(true));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Level::kLikely);
  ASSERT_EQ(found[0].hops.size(), 2u);
  EXPECT_TRUE(found[0].hops[0].same_object);
  EXPECT_NE(found[0].hops[0].thread.run, found[0].hops[1].thread.run);
  EXPECT_NE(found[0].hops[0].thread.id, found[0].hops[1].thread.id);
  EXPECT_EQ(found[0].hops[0].wait.at(0).module, "/usr/bin/prog");
  // Whoever runs it again hears of it again, and the file does not grow.
  const std::string before = text();
  EXPECT_EQ(merge(*pair(true)).size(), 1u);
  EXPECT_EQ(text(), before);
}

TEST_F(DatabaseTest, TheFindingHasTheIdOfARunThatSeesItAlone) {
  merge(*pair(false));
  const std::vector<Finding> found = merge(*pair(true));
  auto both = run();
  const ThreadId one = both->thread(0x10, 10), other = both->thread(0x10, 20);
  const ObjectId a = both->lock(0x1000), b = both->lock(0x1040);
  both->depends(one, a, b, {});
  both->depends(other, b, a, {});
  Recordings recordings(both->path());
  ASSERT_TRUE(recordings.look().has_value());
  const std::vector<Finding> news = recordings.news();
  ASSERT_EQ(news.size(), 1u);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(news[0].id, found[0].id);
}

TEST_F(DatabaseTest, AnotherBuildIsAnotherProgram) {
  merge(*pair(false, 1));
  EXPECT_TRUE(merge(*pair(true, 2)).empty());
  EXPECT_EQ(merge(*pair(true, 1)).size(), 1u);
}

TEST_F(DatabaseTest, OneThreadStaysOneThread) {
  for (const bool crossed : {false, true}) {
    auto made = run();
    const ThreadId one = made->thread(0x10, 10);
    made->thread(0x10, 20);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040);
    made->depends(one, crossed ? b : a, crossed ? a : b, {});
    for (const Finding& finding : merge(*made)) EXPECT_EQ(finding.level, Level::kInfo);
  }
}

TEST_F(DatabaseTest, OneLockAroundBothStaysAround) {
  for (const bool crossed : {false, true}) {
    auto made = run();
    const ThreadId one = made->thread(0x10, 10), other = made->thread(0x10, 20);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040), gate = made->lock(0x1080);
    for (const ThreadId thread : {one, other}) made->depends(thread, crossed ? b : a, crossed ? a : b, {.guard = gate});
    for (const Finding& finding : merge(*made)) EXPECT_EQ(finding.level, Level::kInfo);
  }
}

// The second thread is created when the first has been joined; which of them does something differs from run to run.
TEST_F(DatabaseTest, WhatWasJoinedBeforeStaysBefore) {
  for (const unsigned does : {1u, 2u, 3u, 1u}) {
    auto made = run();
    const ThreadId load = made->thread(0x10, 10, 200), save = made->thread(0x20, 300, 400);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040), other = made->lock(0x1080 + 0x40 * runs_);
    made->depends(load, a, other, {.ns = 90});
    made->depends(save, b, other, {.ns = 310, .knows = {{load, 2}}});
    if ((does & 1) != 0) made->depends(load, a, b, {.ns = 100});
    if ((does & 2) != 0) made->depends(save, b, a, {.ns = 350, .knows = {{load, 2}}});
    for (const Finding& finding : merge(*made)) EXPECT_EQ(finding.level, Level::kInfo) << runs_;
  }
}

// The same without the join: what was over by chance could have met.
TEST_F(DatabaseTest, WhatWasOverByChanceIsNotBefore) {
  std::vector<Finding> found;
  for (const unsigned does : {1u, 2u}) {
    auto made = run();
    const ThreadId load = made->thread(0x10, 10, 200), save = made->thread(0x20, 300, 400);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040), other = made->lock(0x1080);
    made->depends(load, a, other, {.ns = 90});
    made->depends(save, b, other, {.ns = 310});
    if (does == 1) made->depends(load, a, b, {.ns = 100});
    if (does == 2) made->depends(save, b, a, {.ns = 350});
    found = merge(*made);
  }
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Level::kLikely);
}

// What main does before it creates the thread, and what that does later.
TEST_F(DatabaseTest, PreparationStaysBeforeTheThread) {
  for (const unsigned does : {1u, 2u}) {
    auto made = run();
    const ThreadId worker = made->thread(0x10, 200);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040);
    if (does == 1) made->depends(ThreadId(1), a, b, {.ns = 100});
    if (does == 2) made->depends(worker, b, a, {.ns = 300, .knows = {{ThreadId(1), 2}}});
    for (const Finding& finding : merge(*made)) EXPECT_EQ(finding.level, Level::kInfo);
  }
}

// A job that one worker does at a time, another in each run: each run says that it is one thread's.
TEST_F(DatabaseTest, WhatARunSaysOfBothStands) {
  for (const bool second : {false, true}) {
    auto made = run();
    const ThreadId one = made->thread(0x10, 10), other = made->thread(0x10, 20);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040);
    made->depends(second ? other : one, a, b, {.ns = 100});
    made->depends(second ? other : one, b, a, {.ns = 200});
    for (const Finding& finding : merge(*made)) EXPECT_EQ(finding.level, Level::kInfo);
  }
}

TEST_F(DatabaseTest, ThreadsThatNoRunHasTogetherAreNotPutTogether) {
  for (const unsigned does : {1u, 2u}) {
    auto made = run();
    const ThreadId thread = made->thread(does == 1 ? 0x10 : 0x20, 10);
    const ObjectId a = made->lock(0x1000), b = made->lock(0x1040);
    made->depends(thread, does == 1 ? a : b, does == 1 ? b : a, {});
    for (const Finding& finding : merge(*made)) EXPECT_EQ(finding.level, Level::kInfo);
  }
}

TEST_F(DatabaseTest, ObjectsOfTheHeapAreEachRunsOwn) {
  std::vector<Finding> found;
  for (const bool crossed : {false, true}) {
    auto made = run();
    const ThreadId one = made->thread(0x10, 10), other = made->thread(0x10, 20);
    const ObjectId a = made->dynamic_lock(1), b = made->dynamic_lock(2);
    for (const ThreadId thread : {one, other}) made->depends(thread, crossed ? b : a, crossed ? a : b, {});
    found = merge(*made);
  }
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Level::kPossible);
  const std::string before = text();
  auto again = run();
  const ThreadId one = again->thread(0x10, 10);
  again->thread(0x10, 20);
  again->depends(one, again->dynamic_lock(1), again->dynamic_lock(2), {});
  merge(*again);
  EXPECT_EQ(text(), before) << "other objects of the same classes are nothing new";
}

TEST_F(DatabaseTest, ParallelRunsLoseNothing) {
  std::vector<std::unique_ptr<OneRun>> made;
  for (unsigned i = 0; i < 8; ++i) {
    made.push_back(run());
    const ThreadId thread = made.back()->thread(0x10, 10);
    made.back()->depends(thread, made.back()->lock(0x1000 + 0x80 * i), made.back()->lock(0x1040 + 0x80 * i), {});
  }
  std::vector<std::thread> threads;
  for (const auto& each : made) threads.emplace_back([&, one = each.get()] { merge(*one); });
  for (std::thread& thread : threads) thread.join();
  auto pasts = parse_pasts(text());
  ASSERT_TRUE(pasts.has_value());
  ASSERT_EQ(pasts->size(), 1u);
  EXPECT_EQ(pasts->begin()->second.runs.size(), 8u);
  EXPECT_EQ(write_pasts(*pasts), text()) << "what is read is what was written";
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) EXPECT_EQ(entry.path().string().find("db."), std::string::npos);
}

TEST_F(DatabaseTest, AFileThatIsNoneIsLeftAlone) {
  const std::string texts[] = {"hello", "{}", "[]", "null", "{\"format\":3}", std::string(100000, '['),
                               "{\"format\":\"causeway dept database\",\"version\":2,\"programs\":{}}",
                               "{\"format\":\"causeway dept database\",\"version\":1,\"programs\":{\"x\":[]}}",
                               "{\"format\":\"causeway dept database\",\"version\":1}"};
  for (const std::string& given : texts) {
    std::ofstream(file_, std::ios::binary) << given;
    EXPECT_FALSE(Database(file_).check().has_value()) << given.substr(0, 80);
    auto one = pair(false);
    Recordings recordings(one->path());
    ASSERT_TRUE(recordings.look().has_value());
    EXPECT_FALSE(Database(file_).merge(recordings.all(), recordings.symbols()).has_value());
    EXPECT_EQ(text(), given);
  }
  EXPECT_FALSE(Database(directory_).check().has_value());
  EXPECT_FALSE(Database(directory_ + "/none/db").check().has_value());
  EXPECT_TRUE(Database(directory_ + "/new").check().has_value());
}

// Numbers are changed, and bytes; what can still be read must be told without harm.
TEST_F(DatabaseTest, ADamagedFileHarmsNobody) {
  merge(*pair(false));
  merge(*pair(true));
  const std::string whole = text();
  std::minstd_rand random(7);
  unsigned refused = 0, read = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    std::string damaged = whole;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      char& byte = damaged[random() % damaged.size()];
      byte = std::isdigit(static_cast<unsigned char>(byte)) != 0 ? static_cast<char>('0' + random() % 10) : i % 4 == 0 ? static_cast<char>(random()) : byte;
    }
    if (i % 7 == 0) damaged.resize(random() % damaged.size());
    auto pasts = parse_pasts(damaged);
    if (!pasts) {
      ++refused;
      continue;
    }
    ++read;
    if (read % 20 != 0) continue;
    for (auto& [program, past] : *pasts) {
      Symbols symbols;
      Union(past, symbols).findings();
    }
    EXPECT_TRUE(parse_pasts(write_pasts(*pasts)).has_value());
  }
  EXPECT_GT(refused, 100u);
  EXPECT_GT(read, 100u);
}

}  // namespace
}  // namespace causeway::findings
