#include "findings/story.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <link.h>

#include <cstring>
#include <random>

#include "findings/render.h"
#include "findings/testing/recorded.h"

namespace causeway::findings {
namespace {

using dept::Kind;
using dept::ReportId;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Story, TellsACircle) {
  Recorded recorded;
  const ReportId id = recorded.two_locks();
  ASSERT_NE(id, ReportId::kNone);
  Symbols symbols;
  const Finding finding = Story(recorded.arena, symbols).tell(recorded.arena.at<dept::Report>(id));
  EXPECT_EQ(finding.level, Level::kLikely);
  EXPECT_EQ(finding.kind, "lock");
  EXPECT_EQ(finding.program, "prog");
  ASSERT_EQ(finding.hops.size(), 2u);
  for (const Hop& hop : finding.hops) {
    EXPECT_TRUE(hop.same_object);
    EXPECT_TRUE(hop.holds);
  }
  const Hop& reader = finding.hops[finding.hops[0].thread.name == "reader" ? 0 : 1];
  EXPECT_EQ(reader.thread.tid, 101);
  EXPECT_EQ(in_words(reader.owed), "mutex a");
  EXPECT_EQ(in_words(reader.wanted), "mutex b");
  EXPECT_EQ(place_in_words(reader.wait), "f() at a.cc:2");
  ASSERT_EQ(reader.start.size(), 2u) << "completed from the wait's stack";
  EXPECT_EQ(reader.start[1].function, "main");
  EXPECT_THAT(finding.refutations, IsEmpty());
}

TEST(Story, TheMainThreadAndThreadsWithoutANameAreNamed) {
  Recorded recorded;
  const auto main_thread = recorded.thread("prog", 100);
  Symbols symbols;
  Story story(recorded.arena, symbols);
  EXPECT_EQ(story.actor(main_thread).name, "main");
  EXPECT_EQ(story.actor(recorded.thread("worker\x1b", 7)).name, "worker\\x1b");
  EXPECT_EQ(in_words(story.actor(dept::ThreadId::kNone)), "an unknown thread");
}

// With the library of fixture_main.cc loaded, as a module of what was recorded.
class StoryOfAModule : public ::testing::Test {
 protected:
  void SetUp() override {
    library_ = ::dlopen(CW_FINDINGS_FIXTURE, RTLD_NOW);
    ASSERT_NE(library_, nullptr);
    link_map* map = nullptr;
    ASSERT_EQ(::dlinfo(library_, RTLD_DI_LINKMAP, &map), 0);
    dept::ModuleId id;
    dept::Module& module = *recorded_.arena.add<dept::Module>(&id);
    module.begin = module.bias = map->l_addr;
    module.end = map->l_addr + 0x100000;
    module.path = recorded_.arena.intern(CW_FINDINGS_FIXTURE);
    auto variable = reinterpret_cast<const void* (*)(int)>(::dlsym(library_, "fixture_variable"));
    global_ = recorded_.object(Kind::kMutex, reinterpret_cast<uint64_t>(variable(2)), 1);
    heap_ = recorded_.object(Kind::kMutex, 0x10, 2);
    auto pc = reinterpret_cast<const void* (*)()>(::dlsym(library_, "fixture_pc"));
    const dept::Frame frame = dept::Frame::pc(reinterpret_cast<uint64_t>(pc()));
    stack_ = recorded_.arena.intern(&frame, 1);
    recorded_.arena.at<dept::Object>(heap_).birth = stack_;
  }
  void TearDown() override {
    if (library_ != nullptr) ::dlclose(library_);
  }

  void* library_ = nullptr;
  Recorded recorded_;
  dept::ObjectId global_{}, heap_{};
  dept::StackId stack_{};
  Symbols symbols_;
  Story story_{recorded_.arena, symbols_};
};

TEST_F(StoryOfAModule, ObjectsHaveTheirVariablesNamesElsewhereTheirPlaces) {
  EXPECT_EQ(in_words(story_.thing(global_, dept::ClassId::kNone, dept::Event::kWrite)), "mutex fixture::cache.mu");
  EXPECT_EQ(in_words(story_.thing(heap_, dept::ClassId::kNone, dept::Event::kWrite)), "mutex of fixture_main.cc:30");
  const Trace trace = story_.trace(stack_);
  ASSERT_EQ(trace.size(), 2u);
  EXPECT_TRUE(trace[0].inlined);
  EXPECT_EQ(trace[1].function, "fixture::outer");
}

TEST_F(StoryOfAModule, WithoutNamesItIsToldInWhichModulesAllIs) {
  const auto first = recorded_.thread("x", 1), second = recorded_.thread("y", 2);
  recorded_.depends(first, global_, heap_, stack_, stack_);
  const ReportId id = recorded_.depends(second, heap_, global_, stack_, stack_);
  const Finding without = story_.tell(recorded_.arena.at<dept::Report>(id), Story::Names::kModules);
  const Finding with = story_.tell(recorded_.arena.at<dept::Report>(id));
  EXPECT_EQ(without.id, with.id);
  EXPECT_EQ(without.level, with.level);
  ASSERT_EQ(without.hops.size(), 2u);
  for (const Hop& hop : without.hops) {
    ASSERT_EQ(hop.wait.size(), 1u);
    EXPECT_EQ(hop.wait[0].module, CW_FINDINGS_FIXTURE);
    EXPECT_EQ(hop.wait[0].function, "");
    EXPECT_THAT(hop.owed.name + hop.wanted.name, Not(HasSubstr("fixture::")));
  }
  for (const Hop& hop : with.hops) EXPECT_EQ(hop.wait.back().function, "fixture::outer");
}

TEST(Story, DifferentObjectsOfOneNameAreToldApart) {
  Recorded recorded;
  const auto first = recorded.thread("x", 1), second = recorded.thread("y", 2);
  const auto a = recorded.object(Kind::kMutex, 0x1000, 1, "lock"), b = recorded.object(Kind::kMutex, 0x2000, 2, "lock");
  recorded.depends(first, a, b, dept::StackId::kNone, dept::StackId::kNone);
  const ReportId id = recorded.depends(second, b, a, dept::StackId::kNone, dept::StackId::kNone);
  Symbols symbols;
  const Finding finding = Story(recorded.arena, symbols).tell(recorded.arena.at<dept::Report>(id));
  EXPECT_NE(finding.hops[0].owed.name, finding.hops[0].wanted.name);
  EXPECT_THAT(finding.hops[0].owed.name, HasSubstr("0x"));
}

TEST(Story, AThreadsEndIsNotHeld) {
  Recorded recorded;
  const auto main_thread = recorded.thread("prog", 1), worker = recorded.thread("worker", 2);
  const auto a = recorded.object(Kind::kMutex, 0x1000, 1, "a"), end = recorded.object(Kind::kThread, 0, 2);
  recorded.arena.at<dept::Thread>(worker).object = index_of(end);
  recorded.depends(worker, end, a, dept::StackId::kNone, recorded.stack({"a.cc:5 work"}));
  const ReportId id = recorded.depends(main_thread, a, end, dept::StackId::kNone, recorded.stack({"a.cc:9 main"}));
  Symbols symbols;
  const Finding finding = Story(recorded.arena, symbols).tell(recorded.arena.at<dept::Report>(id));
  EXPECT_EQ(finding.kind, "mixed");
  EXPECT_THAT(finding.narrative, HasSubstr("waits at a.cc:9 for the end of thread T2 'worker'"));
  EXPECT_THAT(finding.narrative, HasSubstr("reaches"));
}

// Whatever is in the file: an answer, and no crash.
TEST(Story, SurvivesDamagedArenas) {
  std::mt19937 random(7);
  for (unsigned round = 0; round < 200; ++round) {
    Recorded recorded;
    recorded.two_locks();
    dept::Arena read;
    ASSERT_EQ(read.open(recorded.fd.get()), 0);
    // Behind the reader's back, as a live process would.
    for (unsigned table = 0; table < static_cast<unsigned>(dept::Table::kCount); ++table) {
      const auto& header = recorded.arena.table(dept::Table(table));
      auto* bytes = static_cast<char*>(recorded.arena.record(dept::Table(table), 1));
      const size_t used = (uint64_t{header.used.load()} * header.stride) / 4;
      for (unsigned i = 0; i < 4 && used > 8; ++i) {
        const auto word = static_cast<uint32_t>(random() >> (random() % 32));
        std::memcpy(bytes + random() % (used - 4) * 4, &word, sizeof word);
      }
      if (random() % 8 == 0) recorded.arena.table(dept::Table(table)).used = static_cast<uint32_t>(random());
    }
    Symbols symbols;
    Story story(read, symbols);
    for (uint32_t i = 0; i < std::min(read.used<dept::Report>(), 64u) + 2; ++i) {
      const Finding finding = story.tell(read.at<dept::Report>(ReportId(i)));
      EXPECT_FALSE(render_text(finding, {}).empty());
      EXPECT_FALSE(svg(finding).empty());
    }
  }
}

}  // namespace
}  // namespace causeway::findings
