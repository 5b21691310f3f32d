#include "dept/kernel/map.h"

#include "dept/kernel/testing_kernel.h"

namespace causeway::dept::kernel {
namespace {

class KernelMaps : public KernelApiTest {};

TEST_F(KernelMaps, CompareFunctionAllowsOneOrder) {
  static Key key;
  static Map maps[2];
  for (Map& map : maps) map_init(map, &key, 0, "x", HERE);
  key_set_compare(key, [](const void* a, const void* b) { return a < b ? -1 : 1; });
  ldt_lock(maps[0], {}, HERE);
  ldt_lock(maps[1], {}, HERE);
  EXPECT_EQ(reports(), 0u);
  ldt_unlock(maps[0], HERE);
  ldt_lock(maps[0], {}, HERE);
  EXPECT_EQ(reports(), 1u);
}

TEST_F(KernelMaps, CompareFunctionGoesWithItsKey) {
  static Key key;
  for (const bool destroyed : {false, true}) {
    again();
    key_set_compare(key, [](const void*, const void*) { return -1; });
    if (destroyed) key_destroy(key);
    for (Map* map : {&a_, &b_}) map_init(*map, &key, 0, "x", HERE);
    take_in(a_, b_);
    EXPECT_EQ(reports(), destroyed ? 1u : 0u);
  }
}

TEST_F(KernelMaps, CopyWithoutAKeyIsNotChecked) {
  Map copy;
  map_copy(copy, a_);
  EXPECT_TRUE(copy.nocheck);
  static Key key;
  map_init(b_, &key, 0, "b", HERE);
  map_copy(copy, b_);
  EXPECT_FALSE(copy.nocheck);
  ldt_lock(copy, {}, HERE);
  ldt_lock(b_, {}, HERE);
  EXPECT_EQ(reports(), 1u) << "one class";
}

TEST_F(KernelMaps, EachIsItsOwnClassUnlessTheyShareAKey) {
  static Key key;
  for (const bool shared : {false, true}) {
    again();
    for (Map* map : {&a_, &b_}) {
      if (shared) sdt_map_init_key(*map, key, "reply", HERE);
      else sdt_map_init(*map, "reply", HERE);
    }
    take_in(a_, c_);
    take_in(c_, b_);
    EXPECT_EQ(reports(), shared ? 1u : 0u);
  }
}

TEST_F(KernelMaps, OneThatIsNotCheckedMakesNoEdge) {
  for (const bool checked : {false, true}) {
    again();
    if (!checked) map_set_nocheck(a_);
    take_in(a_, b_);
    take_in(b_, a_);
    EXPECT_EQ(reports(), checked ? 1u : 0u);
  }
}

TEST_F(KernelMaps, OneThatIsNotCheckedAnyMoreIsStillGivenBack) {
  ldt_lock(a_, {}, HERE);
  map_set_nocheck(a_);
  ldt_unlock(a_, HERE);
  take_and_leave(b_);
  EXPECT_EQ(ThreadContext::current()->held(), 0u);
  ldt_unlock(a_, HERE);
  EXPECT_EQ(reports(), 0u) << "nobody looks at it";
}

TEST_F(KernelMaps, AnotherLifeKeepsItsClassAndNoRequest) {
  static Key key;
  for (const bool reinit : {true, false}) {
    again();
    map_init(b_, &key, 0, "b", HERE);
    take_in(a_, b_);
    sdt_request_event(b_, HERE);
    if (reinit) map_reinit(b_, nullptr, 0, nullptr, HERE);
    take_and_leave(a_);
    sdt_event(b_, HERE);
    EXPECT_EQ(reports(), reinit ? 0u : 1u);
    EXPECT_EQ(b_.key, &key);
    EXPECT_STREQ(b_.name, "b");
    take_in(b_, a_);
    EXPECT_EQ(reports(), 1u) << "the class is the same";
  }
}

TEST_F(KernelMaps, KeyThatWasDestroyedIsAnotherClass) {
  static Key key;
  for (const bool destroyed : {true, false}) {
    again();
    map_init(a_, &key, 0, "old", HERE);
    take_in(a_, b_);
    if (destroyed) key_destroy(key);
    map_init(c_, &key, 0, "new", HERE);
    take_in(b_, c_);
    EXPECT_EQ(reports(), destroyed ? 0u : 1u);
    if (!destroyed) continue;
    take_in(c_, b_);
    EXPECT_EQ(reports(), 1u) << "it is a class like any other";
  }
}

TEST_F(KernelMaps, KeyInUseIsNotInitialised) {
  static Key key;
  key_init(key, HERE);
  map_init(a_, &key, 3, "a", HERE);
  key_init(key, HERE);
  EXPECT_EQ(reports(), 0u) << "nobody has used it";
  take_and_leave(a_);
  key_init(key, HERE);
  ASSERT_EQ(reports(), 1u);
  EXPECT_EQ(Tracker::get().arena().at<Report>(ReportId(1)).misuse, Misuse::kInitInUse);
  key_destroy(key);
  key_init(key, HERE);
  EXPECT_EQ(reports(), 1u);
}

TEST_F(KernelMaps, MemoryThatIsFreedTakesItsMapsAndKeysAlong) {
  for (const bool freed : {true, false}) {
    again();
    take_in(a_, b_);
    if (freed) free_range(&a_, sizeof a_);
    map_init(a_, nullptr, 0, "another", HERE);
    take_in(b_, a_);
    EXPECT_EQ(reports(), freed ? 0u : 1u);
  }
}

}  // namespace
}  // namespace causeway::dept::kernel
