#include "luo/flb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FlbTest : public ::testing::Test {
 protected:
  Orchestrator& luo() { return system.luo(); }
  std::vector<std::string> journal() { return lines.take(); }
  void link(Flb& target) { must(luo().register_flb(system.handler(), target)); }
  SessionRef make(std::string_view name, std::vector<uint64_t> files) {
    SessionRef session = must(luo().create_session(name));
    for (uint64_t number : files) must(session->preserve(number, fake_file(number)));
    return session;
  }
  uint64_t value(const std::shared_ptr<void>& object) { return *std::static_pointer_cast<uint64_t>(object); }

  Journal lines;
  FakeFlb flb{lines};
  LuoSystem system;
};

TEST_F(FlbTest, LivesAsLongAsAnyFileOfItsHandler) {
  link(flb);
  SessionRef a = make("a", {1, 2});
  SessionRef b = make("b", {3});
  a->close();
  EXPECT_THAT(journal(), ElementsAre("preserve flb-v1"));
  b->close();
  EXPECT_THAT(journal(), ElementsAre("unpreserve flb-v1"));
}

TEST_F(FlbTest, FailureOfTheSecondGivesUpTheFirstAndThePreserve) {
  FakeFlb second(lines, "flb-v2");
  second.preserve_error = ENODEV;
  link(flb), link(second);
  SessionRef a = must(luo().create_session("a"));
  EXPECT_EQ(error_of(a->preserve(1, fake_file(1))), ENODEV);
  EXPECT_THAT(journal(), ElementsAre("preserve flb-v1", "preserve flb-v2", "unpreserve flb-v1"));
  EXPECT_EQ(luo().stats().owned_files, 0u);
  EXPECT_THAT(system.journal().take(), IsEmpty());  // FLBs come before the file's handler
}

TEST_F(FlbTest, FailureOfTheHandlerGivesUpTheFlb) {
  link(flb);
  system.handler().script.preserve_error = EIO;
  EXPECT_EQ(error_of(must(luo().create_session("a"))->preserve(1, fake_file(1))), EIO);
  EXPECT_THAT(journal(), ElementsAre("preserve flb-v1", "unpreserve flb-v1"));
}

TEST_F(FlbTest, GetOutgoingNeedsAPreservedObject) {
  EXPECT_EQ(error_of(luo().get_outgoing(flb)), ENOENT);
  link(flb);
  EXPECT_EQ(error_of(luo().get_outgoing(flb)), ENOENT);
  flb.leaves_object = false;
  SessionRef a = make("a", {1});
  EXPECT_EQ(error_of(luo().get_outgoing(flb)), ENOENT);
  a->close();
  flb.leaves_object = true;
  a = make("a", {1});
  EXPECT_EQ(value(must(luo().get_outgoing(flb))), 77u);
  journal();
  a->close();
  EXPECT_THAT(journal(), IsEmpty());  // the reference keeps it
  luo().put_outgoing(flb);
  EXPECT_THAT(journal(), ElementsAre("unpreserve flb-v1"));
}

TEST_F(FlbTest, RegistrationErrors) {
  FakeHandler stranger(lines, nullptr, "stranger");
  FakeFlb same_name(lines);
  FakeFlb no_name(lines, "");
  FakeFlb long_name(lines, std::string(48, 'x'));
  EXPECT_EQ(error_of(luo().register_flb(stranger, flb)), EINVAL);
  link(flb);
  EXPECT_EQ(error_of(luo().register_flb(system.handler(), flb)), EEXIST);
  EXPECT_EQ(error_of(luo().register_flb(system.handler(), same_name)), EEXIST);
  EXPECT_EQ(error_of(luo().register_flb(system.handler(), no_name)), EINVAL);
  EXPECT_EQ(error_of(luo().register_flb(system.handler(), long_name)), EINVAL);
  EXPECT_EQ(error_of(luo().unregister_flb(system.handler(), same_name)), ENOENT);
  SessionRef a = make("a", {1});
  EXPECT_EQ(error_of(luo().unregister_flb(system.handler(), flb)), EBUSY);
  EXPECT_EQ(error_of(luo().unregister_handler(system.handler())), EBUSY);
  a->close();
  must(luo().unregister_handler(system.handler()));
  EXPECT_EQ(luo().stats().flbs, 0u);
  EXPECT_EQ(error_of(luo().unregister_handler(system.handler())), ENOENT);
}

TEST_F(FlbTest, SixtyThreeFitThePage) {
  std::vector<std::unique_ptr<FakeFlb>> all;
  for (int i = 0; i < 64; ++i) all.push_back(std::make_unique<FakeFlb>(lines, "flb" + std::to_string(i), i));
  for (int i = 0; i < 63; ++i) link(*all[i]);
  EXPECT_EQ(error_of(luo().register_flb(system.handler(), *all[63])), ENOSPC);
  make("a", {1});
  system.kexec();
  for (int i = 0; i < 63; ++i) {
    link(*all[i]);
    EXPECT_EQ(value(must(luo().get_incoming(*all[i]))), static_cast<uint64_t>(i));
  }
}

TEST_F(FlbTest, IncomingIsRetrievedOnceAndFinishedAfterTheLastFileAndReference) {
  link(flb);
  make("a", {1, 2});
  make("b", {3});
  system.kexec();
  link(flb);
  journal();
  EXPECT_EQ(value(must(luo().get_incoming(flb))), 77u);
  EXPECT_EQ(value(must(luo().get_incoming(flb))), 77u);
  must(must(luo().retrieve_session("a"))->finish());
  must(must(luo().retrieve_session("b"))->finish());
  luo().put_incoming(flb);
  EXPECT_THAT(journal(), ElementsAre("retrieve flb-v1"));
  luo().put_incoming(flb);
  EXPECT_THAT(journal(), ElementsAre("finish flb-v1 77"));
  EXPECT_EQ(error_of(luo().get_incoming(flb)), ENODATA);
}

TEST_F(FlbTest, GetIncomingErrors) {
  link(flb);
  EXPECT_EQ(error_of(luo().get_incoming(flb)), ENODATA);  // a cold boot
  make("a", {1});
  system.kexec();
  FakeFlb other(lines, "other");
  link(other), link(flb);
  EXPECT_EQ(error_of(luo().get_incoming(other)), ENOENT);
  flb.retrieve_error = EXDEV;
  EXPECT_EQ(error_of(luo().get_incoming(flb)), EXDEV);
  flb.retrieve_error = 0;
  EXPECT_EQ(error_of(luo().get_incoming(flb)), EXDEV);
  must(must(luo().retrieve_session("a"))->finish());  // cannot finish it, and says so only in the log
}

// #23: the kernel loads the count at the first get, and loses what was finished before.
TEST_F(FlbTest, FinishRunsEvenIfNobodyAskedBeforeTheFirstFileWasFinished) {
  link(flb);
  make("a", {1, 2});
  system.kexec();
  link(flb);
  journal();
  must(must(luo().retrieve_session("a"))->finish());
  EXPECT_THAT(journal(), ElementsAre("retrieve flb-v1", "finish flb-v1 77"));
}

// #23: an FLB that the old kernel did not have.
TEST_F(FlbTest, FlbOfThisKernelAloneIsNotTouchedByIncomingFiles) {
  make("a", {1});
  system.kexec();
  link(flb);
  must(must(luo().retrieve_session("a"))->finish());
  EXPECT_THAT(journal(), IsEmpty());
}

// #24: the kernel hands over the references of its own users too, which nobody will put.
TEST_F(FlbTest, ReferencesOfThisKernelAreNotInTheCountThatIsHandedOver) {
  link(flb);
  make("a", {1});
  (void)must(luo().get_outgoing(flb));
  system.kexec();
  link(flb);
  journal();
  must(must(luo().retrieve_session("a"))->finish());
  EXPECT_THAT(journal(), ElementsAre("retrieve flb-v1", "finish flb-v1 77"));
}

TEST_F(FlbTest, FlbWithoutFilesIsNotHandedOver) {
  link(flb);
  make("a", {1})->close();
  system.kexec();
  link(flb);
  EXPECT_EQ(error_of(luo().get_incoming(flb)), ENODATA);
}

}  // namespace
}  // namespace causeway::luo::testing
