// Sessions used by several threads while updates are tried and undone.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "luo/gate.h"
#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

TEST(Gate, ShutWaitsForThoseInsideAndKeepsOthersOut) {
  Gate gate;
  std::atomic<int> inside{0};
  std::atomic<bool> shut{false};
  std::atomic<bool> stop{false};
  std::vector<std::thread> users;
  for (int t = 0; t < 3; ++t) {
    users.emplace_back([&] {
      while (!stop) {
        Gate::Pass pass(gate);
        ++inside;
        EXPECT_FALSE(shut);
        --inside;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(gate.shut());
    shut = true;
    EXPECT_EQ(inside, 0);
    shut = false;
    gate.open();
  }
  stop = true;
  for (std::thread& user : users) user.join();
}

TEST(Gate, RemovedLetsEverybodyGoWithoutAPass) {
  Gate gate;
  EXPECT_TRUE(gate.shut());
  std::thread waiting([&] { EXPECT_FALSE(Gate::Pass(gate)); });
  std::thread shutting([&] { EXPECT_FALSE(gate.shut()); });
  gate.remove();
  waiting.join();
  shutting.join();
  EXPECT_FALSE(Gate::Pass(gate));
}

TEST(Threads, SessionsInManyThreadsWhileUpdatesAreTriedAndUndone) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kRounds = 150;
  LuoSystem system;
  Journal lines;
  FakeFlb flb(lines);
  must(system.luo().register_flb(system.handler(), flb));
  const uint64_t before = system.preserved();
  std::atomic<uint64_t> running{kThreads};
  std::vector<std::thread> users;
  std::vector<SessionRef> kept(kThreads);
  for (uint64_t t = 0; t < kThreads; ++t) {
    users.emplace_back([&, t] {
      std::mt19937_64 random(t);
      kept[t] = must(system.luo().create_session("kept" + std::to_string(t)));
      must(kept[t]->preserve(0, fake_file(t << 32)));
      for (uint64_t round = 0; round < kRounds; ++round) {
        SessionRef session = must(system.luo().create_session("s" + std::to_string(t)));
        const uint64_t files = random() % 5;
        for (uint64_t i = 0; i < files; ++i) must(session->preserve(i, fake_file(t << 32 | i | 1 << 20)));
        // All threads want this one.
        const int shared = error_of(session->preserve(99, fake_file(7)));
        EXPECT_TRUE(shared == 0 || shared == EBUSY) << shared;
        if (files > 0 && random() % 2 == 0) must(session->unpreserve(0));
        session->close();
      }
      --running;
    });
  }
  uint64_t updates = 0;
  while (running > 0) {
    must(system.luo().serialize());
    ++updates;
    EXPECT_TRUE(system.luo().stats().serialized);
    system.luo().undo_serialize();
    std::this_thread::yield();
  }
  for (std::thread& user : users) user.join();
  EXPECT_GT(updates, 0u);
  EXPECT_EQ(system.luo().stats().owned_files, kThreads);
  system.kexec();
  for (uint64_t t = 0; t < kThreads; ++t) {
    SessionRef session = must(system.luo().retrieve_session("kept" + std::to_string(t)));
    EXPECT_EQ(number_of(must(session->retrieve(0))), t << 32);
    session->close();
  }
  EXPECT_EQ(system.unrestored(), 0u);
  EXPECT_EQ(system.preserved(), before);
}

TEST(Threads, OneIncomingSessionRetrievedAndFinishedByManyThreads) {
  LuoSystem system;
  SessionRef out = must(system.luo().create_session("vm"));
  for (uint64_t i = 0; i < 50; ++i) must(out->preserve(i, fake_file(i)));
  system.kexec();
  std::atomic<int> winners{0};
  std::vector<std::thread> users;
  SessionRef vm = must(system.luo().retrieve_session("vm"));
  for (int t = 0; t < 4; ++t) {
    users.emplace_back([&] {
      if (system.luo().retrieve_session("vm").has_value()) ++winners;
      for (uint64_t i = 0; i < 50; ++i) {
        auto file = vm->retrieve(i);
        if (file.has_value()) {
          EXPECT_EQ(number_of(*file), i);
        } else {
          EXPECT_EQ(error_of(file), ENOENT);
        }
      }
      must(vm->finish());
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(winners, 0);
  vm->close();
  EXPECT_EQ(system.unrestored(), 0u);
}

}  // namespace
}  // namespace causeway::luo::testing
