// The freeze path: order, unwinding, what stands in memory at each instant.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

using ::testing::ElementsAre;

class SerializeTest : public ::testing::Test {
 protected:
  Orchestrator& luo() { return system.luo(); }
  SessionRef make(std::string_view name, std::vector<uint64_t> files) {
    SessionRef session = must(luo().create_session(name));
    for (uint64_t number : files) must(session->preserve(number, fake_file(number)));
    return session;
  }
  LuoSystem system;
};

TEST_F(SerializeTest, FailureUnfreezesTheFilesBeforeForwardAndTheSessionsBeforeBackward) {
  make("a", {1, 2});
  make("b", {3, 4});
  SessionRef c = make("c", {5, 6, 7});
  system.journal().take();
  system.handler().script = {.freeze_error = EXDEV, .freeze_error_at = 7};
  EXPECT_EQ(error_of(luo().serialize()), EXDEV);
  EXPECT_THAT(system.journal().take(),
              ElementsAre("freeze 1", "freeze 2", "freeze 3", "freeze 4", "freeze 5", "freeze 6", "freeze 7",
                          "unfreeze 5", "unfreeze 6", "unfreeze 3", "unfreeze 4", "unfreeze 1", "unfreeze 2"));
  system.handler().script = {};
  must(c->unpreserve(7));  // everything can be changed again
  system.kexec();
  EXPECT_EQ(must(luo().retrieve_session("c"))->files(), 2u);
  EXPECT_EQ(luo().stats().incoming_files, 6u);
}

TEST_F(SerializeTest, UndoUnfreezesEverythingAndTheNextAttemptIsWhole) {
  SessionRef a = make("a", {1, 2});
  make("b", {3});
  must(luo().serialize());
  EXPECT_TRUE(luo().stats().serialized);
  system.journal().take();
  luo().undo_serialize();
  EXPECT_THAT(system.journal().take(), ElementsAre("unfreeze 3", "unfreeze 1", "unfreeze 2"));
  luo().undo_serialize();  // nothing to undo
  must(a->preserve(9, fake_file(9)));
  system.kexec();
  EXPECT_EQ(must(luo().retrieve_session("a"))->files(), 3u);
}

TEST_F(SerializeTest, KernelThatDiesAfterUndoHandsOverNoSession) {
  make("a", {1});
  must(luo().serialize());
  luo().undo_serialize();
  system.crash();
  EXPECT_EQ(error_of(luo().retrieve_session("a")), ENOENT);
}

TEST_F(SerializeTest, KernelThatDiesBeforeSerializeHandsOverNoSessionAndIsNotRefused) {
  make("a", {1});
  system.crash();
  EXPECT_EQ(luo().stats().refusal, "");
  EXPECT_EQ(luo().stats().incoming_sessions, 0u);
  EXPECT_EQ(luo().stats().liveupdate_num, 1u);
}

TEST_F(SerializeTest, KernelThatDiesAfterSerializeHandsOverAll) {
  make("a", {1});
  must(luo().serialize());
  system.crash();
  EXPECT_EQ(number_of(must(must(luo().retrieve_session("a"))->retrieve(1))), 1u);
}

TEST_F(SerializeTest, LaterOperationsWaitUntilUndo) {
  SessionRef a = make("a", {1});
  must(luo().serialize());
  std::atomic<int> done{0};
  std::thread preserve([&] { must(a->preserve(2, fake_file(2))), ++done; });
  std::thread create([&] { must(luo().create_session("b")), ++done; });
  std::thread retrieve([&] { 
    EXPECT_EQ(error_of(luo().retrieve_session("z")), ENOENT);
    ++done;
  });
  EXPECT_EQ(done, 0);
  luo().undo_serialize();
  preserve.join(), create.join(), retrieve.join();
  EXPECT_EQ(done, 3);
  EXPECT_EQ(a->files(), 2u);
}

TEST_F(SerializeTest, WhoWaitsWhenTheKernelIsReplacedGoesOnWithEnodevAndTouchesNothing) {
  SessionRef a = make("a", {1});
  std::unique_ptr<Orchestrator> old = system.kexec_keeping_old();
  int late = 0;
  std::thread waiting([&] { late = error_of(a->preserve(2, fake_file(2))); });
  std::thread closing([&] { a->close(); });
  system.journal().take();
  old.reset();
  waiting.join(), closing.join();
  EXPECT_EQ(late, ENODEV);
  EXPECT_TRUE(system.journal().take().empty());  // not unpreserved: it is the next kernel's
  system.crash();
  EXPECT_EQ(must(luo().retrieve_session("a"))->files(), 1u);
}

TEST_F(SerializeTest, LiveUpdateNumberCounts) {
  EXPECT_EQ(luo().stats().liveupdate_num, 0u);
  system.kexec();
  EXPECT_EQ(luo().stats().liveupdate_num, 1u);
  system.kexec();
  EXPECT_EQ(luo().stats().liveupdate_num, 2u);
}

// #11 of the kernel's surprises: its next kernel panics.
TEST_F(SerializeTest, FullBlockAndADuplicateLeaveNoEmptyTrailingBlock) {
  const uint64_t before = system.preserved();
  for (int i = 0; i < 51; ++i) make("s" + std::to_string(i), {});
  EXPECT_EQ(error_of(luo().create_session("s7")), EEXIST);
  EXPECT_EQ(system.preserved(), before + 1);
  system.kexec();
  EXPECT_EQ(luo().stats().refusal, "");
  EXPECT_EQ(luo().stats().incoming_sessions, 51u);
}

TEST_F(SerializeTest, BytesAreThoseOfLuoV5) {
  make("first", {5});
  make("second", {});
  system.kexec({.deserialize = false});
  const abi::Ser* ser = system.incoming_ser();
  EXPECT_STREQ(ser->compatible, "luo-v5");
  EXPECT_EQ(uint64_t{ser->liveupdate_num}, 1u);
  const auto* block = system.at<kho::abi::BlockHeader>(PhysAddr(ser->sessions_pa));
  EXPECT_EQ(block->next, 0u);
  ASSERT_EQ(block->count, 2u);
  const auto* sessions = reinterpret_cast<const abi::SessionSer*>(block + 1);
  EXPECT_STREQ(sessions[0].name, "first");
  EXPECT_EQ(uint64_t{sessions[0].file_set.count}, 1u);
  EXPECT_STREQ(sessions[1].name, "second");
  EXPECT_EQ(uint64_t{sessions[1].file_set.files}, 0u);
  const auto* files = system.at<kho::abi::BlockHeader>(PhysAddr(sessions[0].file_set.files));
  ASSERT_EQ(files->count, 1u);
  const auto* file = reinterpret_cast<const abi::FileSer*>(files + 1);
  EXPECT_STREQ(file->compatible, "fake-v1");
  EXPECT_EQ(uint64_t{file->token}, 5u);
  EXPECT_EQ(*system.at<uint64_t>(PhysAddr(file->data)), 5u);
  const auto* flbs = system.at<abi::FlbHeaderSer>(PhysAddr(ser->flbs_pa));
  EXPECT_EQ(uint64_t{flbs->page_count}, 1u);
  EXPECT_EQ(uint64_t{flbs->count}, 0u);
}

TEST_F(SerializeTest, NoSessionsIsAddressZero) {
  make("gone", {})->close();
  system.kexec();
  EXPECT_EQ(uint64_t{system.incoming_ser()->sessions_pa}, 0u);
}

TEST(Luo, OffNeverTouchesWhatIsHandedOver) {
  LuoSystem system;
  must(must(system.luo().create_session("vm"))->preserve(1, fake_file(5)));
  system.kexec({.luo = {.enabled = false}});
  EXPECT_FALSE(system.luo().is_enabled());
  EXPECT_EQ(error_of(system.luo().create_session("x")), EOPNOTSUPP);
  EXPECT_EQ(error_of(system.luo().register_handler(system.handler())), EOPNOTSUPP);
  EXPECT_EQ(system.unrestored(), 3u);  // sessions, files, the file's page
  must(system.luo().serialize());      // nothing to hand over is no error
  system.kexec();
  EXPECT_EQ(system.unrestored(), 0u);
}

TEST(Luo, IsOffWithoutKho) {
  LuoSystem system({.kho = false});
  EXPECT_FALSE(system.luo().is_enabled());
  must(system.luo().serialize());
}

TEST(Luo, HundredThousandSessionsAndAsManyFilesNeedNoSearching) {
  LuoSystem system({.pages = false}, {{PhysAddr(0), MiB(32)}, {PhysAddr(GiB(4)), MiB(128)}});
  constexpr uint64_t kMany = 100'000;
  for (uint64_t i = 0; i < kMany; ++i) must(system.luo().create_session("s" + std::to_string(i)));
  SessionRef big = must(system.luo().create_session("big"));
  for (uint64_t i = 0; i < kMany; ++i) must(big->preserve(i, fake_file(i)));
  system.kexec({.pages = false});
  for (uint64_t i = kMany; i-- > 0;) must(must(system.luo().retrieve_session("s" + std::to_string(i)))->finish());
  big = must(system.luo().retrieve_session("big"));
  for (uint64_t i = kMany; i-- > 0;) must(big->retrieve(i));
  must(big->finish());
}

}  // namespace
}  // namespace causeway::luo::testing
