// Handovers that are damaged: refused with a reason, never a crash, and what they name stays reserved.
#include "luo/incoming.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <ostream>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

// What the old kernel left, to be damaged before this kernel's LUO looks at it.
struct Image {
  explicit Image(LuoSystem& system)
      : ser(system.incoming_ser()),
        session_block(system.at<kho::abi::BlockHeader>(PhysAddr(ser->sessions_pa))),
        sessions(reinterpret_cast<abi::SessionSer*>(session_block + 1)),
        file_block(system.at<kho::abi::BlockHeader>(PhysAddr(sessions->file_set.files))),
        files(reinterpret_cast<abi::FileSer*>(file_block + 1)),
        flb_header(system.at<abi::FlbHeaderSer>(PhysAddr(ser->flbs_pa))),
        flbs(reinterpret_cast<abi::FlbSer*>(flb_header + 1)),
        ser_at(system.generation().phys(ser).value()) {}

  abi::Ser* ser;
  kho::abi::BlockHeader* session_block;
  abi::SessionSer* sessions;
  kho::abi::BlockHeader* file_block;
  abi::FileSer* files;
  abi::FlbHeaderSer* flb_header;
  abi::FlbSer* flbs;
  uint64_t ser_at;
};

struct Damage {
  const char* name;
  std::function<void(Image&)> apply;
};
void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.name;
}

class DamagedHandover : public ::testing::TestWithParam<Damage> {};

TEST_P(DamagedHandover, IsRefusedWithAReasonAndEveryDeserializeIsEio) {
  Journal lines;
  FakeFlb flb(lines);
  LuoSystem system;
  must(system.luo().register_flb(system.handler(), flb));
  for (uint64_t session = 0; session < 2; ++session) {
    SessionRef made = must(system.luo().create_session(session == 0 ? "a" : "b"));
    for (uint64_t i = 1; i <= 2; ++i) must(made->preserve(i, fake_file(session * 10 + i)));
  }
  system.kexec({.deserialize = false, .before_luo = [](LuoSystem& next) {
                  Image image(next);
                  GetParam().apply(image);
                }});
  EXPECT_TRUE(system.luo().is_enabled());
  EXPECT_EQ(error_of(system.luo().deserialize()), EIO);
  EXPECT_EQ(error_of(system.luo().deserialize()), EIO);
  EXPECT_NE(system.luo().stats().refusal, "");
  EXPECT_GE(system.unrestored(), 4u);  // the pages of the four files at least
  system.generation().expect_sound();
  // The next kernel but one starts afresh.
  system.kexec();
  EXPECT_EQ(system.luo().stats().refusal, "");
  EXPECT_EQ(system.unrestored(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Luo, DamagedHandover,
    ::testing::Values(
        Damage{"Compatible", [](Image& i) { i.ser->compatible[5] = '4'; }},
        Damage{"CompatibleNotTerminated", [](Image& i) { i.ser->compatible[7] = 'x'; }},
        Damage{"SessionsUnaligned", [](Image& i) { i.ser->sessions_pa = i.ser->sessions_pa + 8; }},
        Damage{"SessionsNotPreserved", [](Image& i) { i.ser->sessions_pa = MiB(31); }},
        Damage{"SessionsBeyondMemory", [](Image& i) { i.ser->sessions_pa = ~uint64_t{0} << 12; }},
        Damage{"SessionsAreTheDescriptor", [](Image& i) { i.ser->sessions_pa = i.ser_at; }},
        Damage{"SessionsAreTheFlbPage", [](Image& i) { i.ser->sessions_pa = i.ser->flbs_pa; }},
        Damage{"SessionsCycle", [](Image& i) { i.session_block->next = i.ser->sessions_pa; }},
        Damage{"SessionCountZero", [](Image& i) { i.session_block->count = 0; }},
        Damage{"SessionCountAboveCapacity", [](Image& i) { i.session_block->count = 52; }},
        Damage{"SessionNameEmpty", [](Image& i) { i.sessions[0].name[0] = 0; }},
        Damage{"SessionNameDoesNotEnd", [](Image& i) { std::memset(i.sessions[1].name, 'x', 64); }},
        Damage{"SessionNameTwice", [](Image& i) { i.sessions[1].name[0] = 'a'; }},
        Damage{"SessionsShareTheirFiles", [](Image& i) { i.sessions[1].file_set = i.sessions[0].file_set; }},
        Damage{"FileCountTooHigh", [](Image& i) { i.sessions[0].file_set.count = 3; }},
        Damage{"FileCountTooLow", [](Image& i) { i.sessions[0].file_set.count = 1; }},
        Damage{"FileCountWithoutFiles", [](Image& i) { i.sessions[0].file_set.files = 0; }},
        Damage{"FilesNotPreserved", [](Image& i) { i.sessions[0].file_set.files = MiB(31); }},
        Damage{"FilesCycle", [](Image& i) { i.file_block->next = i.sessions[0].file_set.files; }},
        Damage{"FilesAreTheDescriptor", [](Image& i) { i.sessions[0].file_set.files = i.ser_at; }},
        Damage{"FilesAreTheSessions", [](Image& i) { i.sessions[0].file_set.files = i.ser->sessions_pa; }},
        Damage{"FileBlockCountZero", [](Image& i) { i.file_block->count = 0; }},
        Damage{"FileWithoutHandler", [](Image& i) { std::strcpy(i.files[1].compatible, "nobody-v1"); }},
        Damage{"FileCompatibleDoesNotEnd", [](Image& i) { std::memset(i.files[1].compatible, 'x', 48); }},
        Damage{"FileTokenTwice", [](Image& i) { i.files[1].token = i.files[0].token; }},
        Damage{"FlbsNotPreserved", [](Image& i) { i.ser->flbs_pa = MiB(31); }},
        Damage{"FlbsBeyondMemory", [](Image& i) { i.ser->flbs_pa = ~uint64_t{0} << 12; }},
        Damage{"FlbsAreTheDescriptor", [](Image& i) { i.ser->flbs_pa = i.ser_at; }},
        Damage{"FlbPageCount", [](Image& i) { i.flb_header->page_count = 2; }},
        Damage{"FlbCountAbovePage", [](Image& i) { i.flb_header->count = 64; }},
        Damage{"FlbNameEmpty", [](Image& i) { i.flb_header->count = 2; }},
        Damage{"FlbNameDoesNotEnd", [](Image& i) { std::memset(i.flbs[0].name, 'x', 48); }},
        Damage{"FlbNoFileDependsOn", [](Image& i) { i.flbs[0].count = 0; }},
        Damage{"FlbNameTwice",
               [](Image& i) {
                 i.flbs[1] = i.flbs[0];
                 i.flb_header->count = 2;
               }}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Incoming, DescriptorWithMoreFieldsIsRead) {
  // What a later version adds at the end of the page must not matter.
  LuoSystem system;
  must(system.luo().create_session("a"));
  system.kexec({.before_luo = [](LuoSystem& next) { std::memset(next.incoming_ser() + 1, 0xff, 64); }});
  EXPECT_EQ(system.luo().stats().incoming_sessions, 1u);
}

TEST(Incoming, NoFlbPageIsNoFlbs) {
  LuoSystem system;
  must(system.luo().create_session("a"));
  system.kexec({.before_luo = [](LuoSystem& next) { next.incoming_ser()->flbs_pa = 0; }});
  EXPECT_EQ(system.luo().stats().incoming_sessions, 1u);
}

TEST(Incoming, HandlerRegisteredAfterTheFirstDeserializeIsTooLate) {
  LuoSystem system;
  must(must(system.luo().create_session("a"))->preserve(1, fake_file(1)));
  system.kexec({.register_handler = false});
  must(system.luo().register_handler(system.handler()));
  EXPECT_EQ(error_of(system.luo().deserialize()), EIO);
}

// The old handover counts until commit(): it must be whole however far this kernel has come.
TEST(Incoming, KernelThatDiesBeforeCommitLeavesTheOldHandoverWhole) {
  LuoSystem system;
  must(must(system.luo().create_session("a"))->preserve(1, fake_file(5)));
  must(system.luo().serialize());
  system.generation().commit(hw::HandoverKind::kOrderly);
  for (int death = 0; death < 3; ++death) {
    system.crash({.commit = false});
    SessionRef session = must(system.luo().retrieve_session("a"));
    EXPECT_EQ(number_of(must(session->retrieve(1))), 5u);
    must(session->finish());
    session->close();
    for (int i = 0; i < 100; ++i) (void)system.generation().alloc(kOrder0);  // would reuse what was freed
  }
  system.crash();
  EXPECT_EQ(number_of(must(must(system.luo().retrieve_session("a"))->retrieve(1))), 5u);
}

}  // namespace
}  // namespace causeway::luo::testing
