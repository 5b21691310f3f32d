// For tests of the kernel's API: a tracker that judges as the kernel does, and three maps.
//
//   class KernelApi : public KernelApiTest {};
//   TEST_F(KernelApi, TwoOrders) {
//     ldt_lock(a_, {}, HERE);
//     take_and_leave(b_);
//     ...
//     EXPECT_EQ(reports(), 1u);
#pragma once

#include <gtest/gtest.h>

#include "dept/kernel_api.h"
#include "dept/tracker.h"

#define HERE Site::at(__FILE__, __LINE__)

namespace causeway::dept::kernel {

class KernelApiTest : public ::testing::Test {
 protected:
  KernelApiTest() { again(); }
  // A new tracker, in which nothing has been seen.
  void again() {
    Settings settings;
    settings.judge = {.threads = false, .gates = false, .order = false, .timeouts = false};
    settings.predict = false;
    EXPECT_EQ(Tracker::start_again(settings), 0);
    for (Map* map : {&a_, &b_, &c_}) map_init(*map, nullptr, 0, "map", HERE);
  }
  static uint32_t reports() { return Tracker::get().arena().used<Report>() - 1; }
  static void take_and_leave(Map& map) {
    ldt_lock(map, {}, HERE);
    ldt_unlock(map, HERE);
  }
  // `outer` is held while `inner` is waited for.
  static void take_in(Map& outer, Map& inner) {
    ldt_lock(outer, {}, HERE);
    take_and_leave(inner);
    ldt_unlock(outer, HERE);
  }

  Map a_, b_, c_;
};

}  // namespace causeway::dept::kernel
