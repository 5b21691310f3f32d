// Every step that can fail is made to fail: nothing is left behind, and the next attempt succeeds.
#include <gtest/gtest.h>

#include <string_view>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

// Both sides of a live update; stops at the first error.
Status old_kernel(LuoSystem& system, SessionRef* session) {
  *session = CW_TRY(system.luo().create_session("vm"));
  for (uint64_t i = 0; i < 3; ++i) CW_TRY((*session)->preserve(i, fake_file(i)));
  CW_TRY(system.luo().serialize());
  system.luo().undo_serialize();
  return {};
}
Status new_kernel(Orchestrator& luo, const Flb& flb) {
  SessionRef session = CW_TRY(luo.retrieve_session("vm"));
  Status done = [&]() -> Status {
    for (uint64_t i = 0; i < 3; ++i) (void)CW_TRY(session->retrieve(i));
    (void)CW_TRY(luo.get_incoming(flb));
    luo.put_incoming(flb);
    return session->finish();
  }();
  if (!done.has_value()) {
    session->cancel_retrieve();
  } else {
    session->close();
  }
  return done;
}

TEST(FailPoints, OldKernelLosesNothingAtAnyOfThem) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  unsigned tried = 0;
  for (const point::Point* step : point::list()) {
    const std::string_view name(step->name);
    if (step->kind != point::Kind::kFailable) continue;
    if (!name.starts_with("luo.") && !name.starts_with("kho.blocks.")) continue;
    SCOPED_TRACE(step->name);
    for (unsigned hit = 1; hit <= 4; ++hit) {
      Journal lines;
      FakeFlb flb(lines);
      LuoSystem system;
      must(system.luo().register_flb(system.handler(), flb));
      const uint64_t before = system.preserved();
      SessionRef session;
      bool failed = false;
      {
        FailingStep fault(step->name, ENOMEM, hit);
        failed = error_of(old_kernel(system, &session)) == ENOMEM;
      }
      tried += failed;
      if (session != nullptr) session->close();
      EXPECT_EQ(system.preserved(), before);
      EXPECT_EQ(system.luo().stats().owned_files, 0u);
      EXPECT_EQ(system.luo().stats().outgoing_sessions, 0u);
      if (!failed) break;
      must(old_kernel(system, &session));
    }
  }
  EXPECT_GE(tried, 12u);
}

TEST(FailPoints, NewKernelCanTryAgainAtAnyOfThem) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  unsigned tried = 0;
  for (const point::Point* step : point::list()) {
    const std::string_view name(step->name);
    if (step->kind != point::Kind::kFailable || !name.starts_with("luo.")) continue;
    if (name.starts_with("luo.deserialize.") || name.starts_with("luo.incoming.")) continue;  // final: below
    SCOPED_TRACE(step->name);
    Journal lines;
    FakeFlb flb(lines);
    LuoSystem system;
    must(system.luo().register_flb(system.handler(), flb));
    SessionRef session = must(system.luo().create_session("vm"));
    for (uint64_t i = 0; i < 3; ++i) must(session->preserve(i, fake_file(i)));
    system.kexec();
    must(system.luo().register_flb(system.handler(), flb));
    {
      FailingStep fault(step->name);
      if (error_of(new_kernel(system.luo(), flb)) == 0) continue;
    }
    ++tried;
    must(new_kernel(system.luo(), flb));
    EXPECT_EQ(system.unrestored(), 0u);
  }
  EXPECT_GE(tried, 4u);
}

TEST(FailPoints, FailureToReadTheHandoverIsFinalAndKeepsIt) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  for (const char* step : {"luo.incoming.read", "luo.deserialize.session", "luo.deserialize.file"}) {
    SCOPED_TRACE(step);
    LuoSystem system;
    must(must(system.luo().create_session("vm"))->preserve(1, fake_file(1)));
    must(system.luo().serialize());
    {
      FailingStep fault(step);
      system.crash({.commit = false});
      EXPECT_EQ(error_of(system.luo().deserialize()), EIO);
    }
    EXPECT_EQ(error_of(system.luo().deserialize()), EIO);
    system.crash();
    EXPECT_EQ(must(system.luo().retrieve_session("vm"))->files(), 1u);
  }
}

TEST(FailPoints, LuoIsOffIfItsHandoverCannotBeMade) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  for (const char* step : {"luo.publish.alloc", "luo.publish.alloc_flbs", "luo.publish.add_subtree"}) {
    SCOPED_TRACE(step);
    kho::TestMachine machine;
    kho::Generation generation(machine);
    const uint64_t before = generation.kho->stats().preserved_blocks;
    auto luo = must(Orchestrator::create(*generation.kho));
    FailingStep fault(step);
    EXPECT_EQ(error_of(luo->publish_outgoing()), ENOMEM);
    EXPECT_FALSE(luo->is_enabled());
    EXPECT_EQ(error_of(luo->create_session("vm")), EOPNOTSUPP);
    EXPECT_EQ(generation.kho->stats().preserved_blocks, before);
  }
}

}  // namespace
}  // namespace causeway::luo::testing
