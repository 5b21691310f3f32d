#include "shim/seccomp_check.h"

#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <string>
#include <vector>

namespace causeway::shim {

const char* socket_name() { return "causeway-test"; }  // this program is a client

namespace {

constexpr unsigned long long kNoArguments[6] = {};

unsigned verdict(const std::vector<sock_filter>& filter, int number, const unsigned long long (&arguments)[6] = kNoArguments) {
  return run_filter(filter.data(), filter.size(), number, arguments);
}

sock_filter load(unsigned offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
sock_filter give(unsigned value) { return BPF_STMT(BPF_RET | BPF_K, value); }
sock_filter jump(unsigned how, unsigned k, unsigned char yes, unsigned char no) {
  return BPF_JUMP(static_cast<unsigned short>(BPF_JMP | BPF_K | how), k, yes, no);
}

TEST(RunFilter, AnAllowListLetsThroughWhatIsOnIt) {
  std::vector<sock_filter> filter{load(offsetof(seccomp_data, nr)), jump(BPF_JEQ, SYS_read, 1, 0),
                                  give(SECCOMP_RET_KILL_PROCESS), give(SECCOMP_RET_ALLOW)};
  EXPECT_EQ(verdict(filter, SYS_read), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(filter, SYS_process_vm_readv), SECCOMP_RET_KILL_PROCESS);
}

TEST(RunFilter, ArgumentsAreSeenInBothHalves) {
  std::vector<sock_filter> low{load(offsetof(seccomp_data, args[1])), BPF_STMT(BPF_RET | BPF_A, 0)};
  std::vector<sock_filter> high{load(offsetof(seccomp_data, args[1]) + 4), BPF_STMT(BPF_RET | BPF_A, 0)};
  unsigned long long arguments[6] = {0, 0x1122334455667788, 0, 0, 0, 0};
  EXPECT_EQ(verdict(low, 0, arguments), 0x55667788u);
  EXPECT_EQ(verdict(high, 0, arguments), 0x11223344u);
}

TEST(RunFilter, TheArchitectureIsOurOwn) {
  std::vector<sock_filter> filter{load(offsetof(seccomp_data, arch)), BPF_STMT(BPF_RET | BPF_A, 0)};
#if defined(__x86_64__)
  EXPECT_EQ(verdict(filter, 0), 0xc000003eu);
#else
  EXPECT_EQ(verdict(filter, 0), 0xc00000b7u);
#endif
}

TEST(RunFilter, ArithmeticAndMemory) {
  std::vector<sock_filter> filter{
      BPF_STMT(BPF_LD | BPF_IMM, 12),        BPF_STMT(BPF_ST, 3),
      BPF_STMT(BPF_LDX | BPF_IMM, 5),        BPF_STMT(BPF_ALU | BPF_MUL | BPF_X, 0),  // 60
      BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 4), BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 7),  // 8
      BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 4), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),  // 64
      BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 3), BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 1),  // 66
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf2), BPF_STMT(BPF_LDX | BPF_MEM, 3),      // 66, X = 12
      BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0), BPF_STMT(BPF_MISC | BPF_TAX, 0),         // 78
      BPF_STMT(BPF_ALU | BPF_NEG, 0),        BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),   // 0
      BPF_STMT(BPF_MISC | BPF_TXA, 0),       BPF_STMT(BPF_RET | BPF_A, 0)};
  EXPECT_EQ(verdict(filter, 0), 78u);
}

TEST(RunFilter, EveryComparison) {
  auto takes = [](unsigned how, unsigned k, unsigned value) {
    return verdict({BPF_STMT(BPF_LD | BPF_IMM, value), jump(how, k, 1, 0), give(0), give(1)}, 0) == 1;
  };
  EXPECT_TRUE(takes(BPF_JEQ, 5, 5));
  EXPECT_FALSE(takes(BPF_JEQ, 5, 6));
  EXPECT_TRUE(takes(BPF_JGT, 5, 6));
  EXPECT_FALSE(takes(BPF_JGT, 5, 5));
  EXPECT_TRUE(takes(BPF_JGE, 5, 5));
  EXPECT_FALSE(takes(BPF_JGE, 5, 4));
  EXPECT_TRUE(takes(BPF_JSET, 6, 4));
  EXPECT_FALSE(takes(BPF_JSET, 6, 9));
  EXPECT_EQ(verdict({BPF_STMT(BPF_JMP | BPF_JA, 1), give(0), give(1)}, 0), 1u);
}

TEST(RunFilter, AFilterThatCannotBeRunKills) {
  EXPECT_EQ(verdict({}, 0), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict({BPF_STMT(BPF_LD | BPF_IMM, 1)}, 0), SECCOMP_RET_KILL_PROCESS) << "no return";
  EXPECT_EQ(verdict({BPF_STMT(0xffff, 0)}, 0), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict({load(64), give(SECCOMP_RET_ALLOW)}, 0), SECCOMP_RET_KILL_PROCESS) << "beyond the data";
  EXPECT_EQ(verdict({load(2), give(SECCOMP_RET_ALLOW)}, 0), SECCOMP_RET_KILL_PROCESS) << "misaligned";
  EXPECT_EQ(verdict({load(0xffffffff), give(SECCOMP_RET_ALLOW)}, 0), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict({BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), give(SECCOMP_RET_ALLOW)}, 0), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict({BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), give(SECCOMP_RET_ALLOW)}, 0), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict({BPF_STMT(BPF_ST, 1000), BPF_STMT(BPF_LD | BPF_MEM, 1000), BPF_STMT(BPF_RET | BPF_A, 0)}, 0), 0u);
}

std::string said_about(const std::vector<sock_filter>& filter) {
  std::vector<sock_filter> copy = filter;
  sock_fprog program{static_cast<unsigned short>(copy.size()), copy.data()};
  ::testing::internal::CaptureStderr();
  check_seccomp_call(SECCOMP_SET_MODE_FILTER, &program);
  return ::testing::internal::GetCapturedStderr();
}

TEST(CheckSeccompCall, NamesExactlyWhatIsRefused) {
  std::vector<sock_filter> filter{load(offsetof(seccomp_data, nr)), jump(BPF_JEQ, SYS_process_vm_readv, 1, 0),
                                  jump(BPF_JEQ, SYS_sendmsg, 0, 1), give(SECCOMP_RET_ERRNO), give(SECCOMP_RET_ALLOW)};
  std::string said = said_about(filter);
  EXPECT_NE(said.find("refuses sendmsg, process_vm_readv,"), std::string::npos) << said;
  EXPECT_NE(said.find("--supervise"), std::string::npos) << said;
}

TEST(CheckSeccompCall, SaysNothingOfAFilterThatLetsUsWork) {
  EXPECT_EQ(said_about({give(SECCOMP_RET_ALLOW)}), "");
  EXPECT_EQ(said_about({give(SECCOMP_RET_LOG)}), "");
  check_seccomp_call(SECCOMP_SET_MODE_FILTER, nullptr);  // the system call will say EFAULT
}

TEST(CheckSeccompCall, AFilterThatRefusesEverythingFitsTheLine) {
  std::string said = said_about({give(SECCOMP_RET_KILL_PROCESS)});
  EXPECT_NE(said.find("getsockopt"), std::string::npos);
  EXPECT_NE(said.find("close"), std::string::npos);
}

}  // namespace
}  // namespace causeway::shim
