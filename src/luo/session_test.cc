#include "luo/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

using ::testing::ElementsAre;

class SessionTest : public ::testing::Test {
 protected:
  Orchestrator& luo() { return system.luo(); }
  FakeHandler::Script& script() { return system.handler().script; }
  std::vector<std::string> journal() { return system.journal().take(); }
  SessionRef make(std::string_view name) { return must(luo().create_session(name)); }
  SessionRef take(std::string_view name) { return must(luo().retrieve_session(name)); }

  LuoSystem system;
};

TEST_F(SessionTest, NameIsOneTo63Bytes) {
  EXPECT_EQ(error_of(luo().create_session("")), EINVAL);
  EXPECT_EQ(error_of(luo().create_session(std::string(64, 'x'))), EINVAL);
  EXPECT_EQ(make(std::string(63, 'x'))->name(), std::string(63, 'x'));
}

TEST_F(SessionTest, NameIsTakenUntilClosed) {
  SessionRef vm = make("vm");
  EXPECT_EQ(error_of(luo().create_session("vm")), EEXIST);
  vm->close();
  make("vm");
}

TEST_F(SessionTest, IncomingAndOutgoingNamesAreIndependent) {
  make("vm");
  system.kexec();
  make("vm");
  EXPECT_TRUE(take("vm")->is_incoming());
}

TEST_F(SessionTest, CarriesItsFilesToTheNextKernelInAnyOrderOfTokens) {
  SessionRef vm = make("vm");
  const std::array<uint64_t, 4> tokens{0, 7, ~uint64_t{0}, 3};
  for (uint64_t i = 0; i < tokens.size(); ++i) must(vm->preserve(tokens[i], fake_file(100 + i)));
  system.kexec();
  SessionRef again = take("vm");
  EXPECT_EQ(again->files(), 4u);
  for (uint64_t i : {2, 0, 3, 1}) EXPECT_EQ(number_of(must(again->retrieve(tokens[i]))), 100 + i);
  EXPECT_EQ(error_of(again->retrieve(8)), ENOENT);
}

TEST_F(SessionTest, RetrieveGivesTheSameFileEachTime) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  SessionRef vm = take("vm");
  EXPECT_EQ(must(vm->retrieve(1)), must(vm->retrieve(1)));
  EXPECT_THAT(journal(), ElementsAre("preserve 5", "freeze 5", "retrieve 5"));
}

TEST_F(SessionTest, CloseUnpreservesInReverseAndGivesAllMemoryBack) {
  const uint64_t before = system.preserved();
  SessionRef vm = make("vm");
  for (uint64_t i = 0; i < 3; ++i) must(vm->preserve(i, fake_file(i)));
  EXPECT_GT(system.preserved(), before);
  vm->close();
  EXPECT_THAT(journal(), ElementsAre("preserve 0", "preserve 1", "preserve 2", "unpreserve 2", "unpreserve 1",
                                     "unpreserve 0"));
  EXPECT_EQ(system.preserved(), before);
  EXPECT_EQ(luo().stats().owned_files, 0u);
  EXPECT_EQ(error_of(vm->preserve(9, fake_file(9))), EINVAL);
}

TEST_F(SessionTest, KeepsTheFileInUseUntilItIsLetGo) {
  SessionRef vm = make("vm");
  file::FileRef file = fake_file(5);
  std::weak_ptr<file::File> watch = file;
  must(vm->preserve(1, std::move(file)));
  EXPECT_FALSE(watch.expired());
  must(vm->unpreserve(1));
  EXPECT_TRUE(watch.expired());
}

TEST_F(SessionTest, PreserveChecksInTheKernelsOrder) {
  SessionRef vm = make("vm");
  must(vm->preserve(1, fake_file(5)));
  const Result<file::FileRef> bad = fail(EBADF, "test");
  EXPECT_EQ(error_of(vm->preserve(1, bad)), EEXIST);  // before the descriptor
  EXPECT_EQ(error_of(vm->preserve(2, bad)), EBADF);
  EXPECT_EQ(error_of(vm->preserve(2, fake_file(5, "stranger"))), ENOENT);
  EXPECT_EQ(error_of(vm->preserve(2, fake_file(5))), EBUSY);
  script().preserve_error = ENOSYS;
  EXPECT_EQ(error_of(vm->preserve(2, fake_file(5))), EBUSY);  // before the handler
  EXPECT_EQ(error_of(vm->preserve(2, fake_file(6))), ENOSYS);
}

TEST_F(SessionTest, OneInodeIsOwnedOnceWhateverSessionOrToken) {
  SessionRef a = make("a");
  SessionRef b = make("b");
  must(a->preserve(1, fake_file(5)));
  EXPECT_EQ(error_of(b->preserve(1, fake_file(5))), EBUSY);
  EXPECT_EQ(error_of(a->preserve(2, fake_file(5))), EBUSY);
  a->close();
  must(b->preserve(1, fake_file(5)));
}

TEST_F(SessionTest, RetrievedFileCanBePreservedAgainOnlyAfterFinish) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  SessionRef in = take("vm");
  file::FileRef file = must(in->retrieve(1));
  SessionRef out = make("vm");
  EXPECT_EQ(error_of(out->preserve(1, file)), EBUSY);
  must(in->finish());
  must(out->preserve(1, file));
  system.kexec();
  EXPECT_EQ(number_of(must(take("vm")->retrieve(1))), 5u);
}

TEST_F(SessionTest, FailedPreserveLeavesNothing) {
  SessionRef vm = make("vm");
  const uint64_t before = system.preserved();
  script().preserve_error = EIO;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(error_of(vm->preserve(1, fake_file(5))), EIO);
  EXPECT_EQ(system.preserved(), before);
  EXPECT_EQ(luo().stats().owned_files, 0u);
  script().preserve_error = 0;
  must(vm->preserve(1, fake_file(5)));
}

TEST_F(SessionTest, WrongKindOfSessionIsEinval) {
  SessionRef vm = make("vm");
  EXPECT_EQ(error_of(vm->retrieve(1)), EINVAL);
  EXPECT_EQ(error_of(vm->finish()), EINVAL);
  system.kexec();
  EXPECT_EQ(error_of(take("vm")->preserve(1, fake_file(5))), EINVAL);
}

TEST_F(SessionTest, FailedRetrieveIsForEverAndTriedOnce) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  journal();
  SessionRef vm = take("vm");
  script().retrieve_error = EXDEV;
  EXPECT_EQ(error_of(vm->retrieve(1)), EXDEV);
  script().retrieve_error = 0;
  EXPECT_EQ(error_of(vm->retrieve(1)), EXDEV);
  must(vm->finish());
  EXPECT_THAT(journal(), ElementsAre("retrieve 5", "can_finish unretrieved", "finish failed 5"));
}

TEST_F(SessionTest, HandlerThatRetrievesNothingIsAnError) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  script().retrieve_nothing = true;
  EXPECT_EQ(error_of(take("vm")->retrieve(1)), EIO);
}

TEST_F(SessionTest, FinishAsksAllForwardThenFinishesInReverse) {
  SessionRef vm = make("vm");
  for (uint64_t i = 0; i < 3; ++i) must(vm->preserve(i, fake_file(i)));
  system.kexec();
  vm = take("vm");
  must(vm->retrieve(0));
  must(vm->retrieve(2));
  journal();
  must(vm->finish());
  EXPECT_THAT(journal(), ElementsAre("can_finish 0", "can_finish unretrieved", "can_finish 2", "finish retrieved 2",
                                     "finish never tried 1", "finish retrieved 0"));
  EXPECT_EQ(system.unrestored(), 0u);
}

TEST_F(SessionTest, FinishTwiceIsSuccessAndTheNameStaysTakenUntilClose) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  SessionRef vm = take("vm");
  must(vm->finish());
  must(vm->finish());
  EXPECT_EQ(error_of(vm->retrieve(1)), ENOENT);
  EXPECT_EQ(error_of(luo().retrieve_session("vm")), EINVAL);
  vm->close();
  EXPECT_EQ(error_of(luo().retrieve_session("vm")), ENOENT);
}

TEST_F(SessionTest, RefusedFinishChangesNothingAndCanBeRetried) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  SessionRef vm = take("vm");
  script().can_finish = false;
  EXPECT_EQ(error_of(vm->finish()), EBUSY);
  EXPECT_EQ(vm->files(), 1u);
  script().can_finish = true;
  EXPECT_EQ(number_of(must(vm->retrieve(1))), 5u);
  must(vm->finish());
}

TEST_F(SessionTest, CloseFinishesAnIncomingSession) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  journal();
  take("vm")->close();
  EXPECT_THAT(journal(), ElementsAre("can_finish unretrieved", "finish never tried 5"));
  EXPECT_EQ(error_of(luo().retrieve_session("vm")), ENOENT);
  EXPECT_EQ(system.unrestored(), 0u);
}

TEST_F(SessionTest, RefusedFinishAtCloseLeavesTheSessionStuckAndSaysSo) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  script().can_finish = false;
  log::Capture lines;
  take("vm")->close();
  EXPECT_TRUE(lines.contains("session vm is closed and cannot be finished"));
  EXPECT_EQ(error_of(luo().retrieve_session("vm")), EINVAL);
  EXPECT_EQ(luo().stats().incoming_sessions, 1u);
}

TEST_F(SessionTest, NeverRetrievedSessionStaysReservedAndIsNotPassedOn) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  EXPECT_EQ(system.unrestored(), 2u);  // the block of files, and the file's page
  system.kexec();
  EXPECT_EQ(error_of(luo().retrieve_session("vm")), ENOENT);
  EXPECT_EQ(system.unrestored(), 0u);
}

TEST_F(SessionTest, EmptySessionIsHandedOver) {
  make("vm");
  system.kexec();
  SessionRef vm = take("vm");
  EXPECT_EQ(vm->files(), 0u);
  must(vm->finish());
}

TEST_F(SessionTest, HandlersCanAskForEachOthersFiles) {
  Journal& lines = system.journal();
  file::FileRef first = fake_file(1);
  SessionRef vm = make("vm");
  must(vm->preserve(10, first));
  uint64_t seen = 0;
  script().in_preserve = [&](FileArgs& args) -> Status {
    seen = CW_TRY(args.session->token_of(first));
    EXPECT_EQ(error_of(args.session->token_of(fake_file(9))), ENOENT);
    return {};
  };
  must(vm->preserve(20, fake_file(2)));
  EXPECT_EQ(seen, 10u);
  system.kexec();
  lines.take();
  bool nested = false;
  script().in_retrieve = [&](FileArgs& args) -> Status {
    if (std::exchange(nested, true)) return {};
    EXPECT_EQ(number_of(CW_TRY(args.session->file_incoming(10))), 1u);
    EXPECT_EQ(error_of(args.session->file_incoming(20)), EDEADLK);  // itself
    return {};
  };
  must(take("vm")->retrieve(20));
  EXPECT_THAT(lines.take(), ElementsAre("retrieve 2", "retrieve 1"));
}

TEST_F(SessionTest, CancelledRetrieveOfASessionCanBeRepeated) {
  must(make("vm")->preserve(1, fake_file(5)));
  system.kexec();
  take("vm")->cancel_retrieve();
  EXPECT_EQ(number_of(must(take("vm")->retrieve(1))), 5u);
}

TEST_F(SessionTest, ManyFilesFillSeveralBlocksAndShrinkAgain) {
  const uint64_t before = system.preserved();
  SessionRef vm = make("vm");
  for (uint64_t i = 0; i < 200; ++i) must(vm->preserve(i, fake_file(i)));
  for (uint64_t i = 0; i < 137; ++i) must(vm->unpreserve((i * 61) % 200));
  EXPECT_EQ(vm->files(), 63u);
  EXPECT_EQ(system.preserved(), before + 1 /* session block */ + 1 /* file block */ + 63 /* files */);
  system.kexec();
  EXPECT_EQ(take("vm")->files(), 63u);
}

TEST(SessionLimit, RoomIsLookedForBeforeTheName) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  LuoSystem system;
  for (int i = 0; i < 51; ++i) must(system.luo().create_session("s" + std::to_string(i)));
  FailingStep full("kho.blocks.grow", ENOSPC);
  EXPECT_EQ(error_of(system.luo().create_session("s0")), ENOSPC);
}

TEST(SessionLimit, FilesOfOneSessionEndAt630000) {
#if CW_SANITIZED
  GTEST_SKIP() << "too slow with a sanitizer";
#endif
  LuoSystem system({.pages = false}, {{PhysAddr(0), MiB(32)}, {PhysAddr(GiB(4)), MiB(128)}});
  SessionRef vm = must(system.luo().create_session("vm"));
  for (uint64_t i = 0; i < 630'000; ++i) must(vm->preserve(i, fake_file(i)));
  EXPECT_EQ(error_of(vm->preserve(1'000'000, fake_file(1'000'000))), ENOSPC);
  EXPECT_EQ(error_of(vm->preserve(5, fake_file(1'000'000))), EEXIST);
  vm->close();
}

}  // namespace
}  // namespace causeway::luo::testing
