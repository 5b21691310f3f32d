#include "shim/seccomp_check.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "shim/message.h"
#include "shim/real.h"
#include "shim/thread_channel.h"

namespace causeway::shim {

namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

// The system calls of src/client and src/shim, with the arguments that filters look at.
struct Needed {
  const char* name;
  int number;
  unsigned long long arguments[6];
};
constexpr Needed kNeeded[] = {
    {"getsockopt", SYS_getsockopt, {3, SOL_SOCKET, SO_COOKIE}},
    {"getpeername", SYS_getpeername, {3}},
    {"socket", SYS_socket, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC}},
    {"connect", SYS_connect, {3}},
    {"sendmsg", SYS_sendmsg, {3, 0, MSG_NOSIGNAL}},
    {"recvmsg", SYS_recvmsg, {3, 0, MSG_CMSG_CLOEXEC}},
    {"mmap", SYS_mmap, {0, 4096, 3 /* PROT_READ | PROT_WRITE */, 1 /* MAP_SHARED */, 3}},
    {"munmap", SYS_munmap, {4096, 4096}},
    {"process_vm_readv", SYS_process_vm_readv, {1}},
    {"process_vm_writev", SYS_process_vm_writev, {1}},
    {"fcntl", SYS_fcntl, {3, 1030 /* F_DUPFD_CLOEXEC */}},
    {"prlimit64", SYS_prlimit64, {0, 7}},
    {"getpid", SYS_getpid, {}},
    {"gettid", SYS_gettid, {}},
    {"close", SYS_close, {3}},
};

bool lets_through(unsigned verdict) {
  unsigned action = verdict & SECCOMP_RET_ACTION_FULL;
  return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG || action == SECCOMP_RET_USER_NOTIF;
}

void check_filter(const sock_fprog* program) {
  if (program == nullptr || socket_name() == nullptr) return;
  char names[256] = "";
  for (const Needed& call : kNeeded) {
    if (lets_through(run_filter(program->filter, program->len, call.number, call.arguments))) continue;
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s", used == 0 ? "" : ", ", call.name);
  }
  if (names[0] == '\0') return;
  say("this program installs a seccomp filter that refuses %s, which calls to the kernel's devices are made with here; a "
      "thread under the filter that makes one is killed. Turn the program's filter off (cloud-hypervisor --seccomp false, "
      "crosvm --disable-sandbox, qemu without -sandbox), or use 'causeway run --supervise'\n",
      names);
}

}  // namespace

unsigned run_filter(const sock_filter* filter, size_t length, int number, const unsigned long long (&arguments)[6]) {
  seccomp_data data{};
  data.nr = number;
  data.arch = kArchitecture;
  for (int i = 0; i < 6; ++i) data.args[i] = arguments[i];
  const auto* bytes = reinterpret_cast<const unsigned char*>(&data);
  uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {};
  constexpr unsigned kKill = SECCOMP_RET_KILL_PROCESS;
  for (size_t pc = 0; pc < length; ++pc) {
    const sock_filter& op = filter[pc];
    uint32_t operand = (op.code & BPF_X) != 0 ? x : op.k;
    switch (op.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (op.k > sizeof data - 4 || op.k % 4 != 0) return kKill;
        memcpy(&a, bytes + op.k, 4);
        break;
      case BPF_LD | BPF_W | BPF_LEN: a = sizeof data; break;
      case BPF_LDX | BPF_W | BPF_LEN: x = sizeof data; break;
      case BPF_LD | BPF_IMM: a = op.k; break;
      case BPF_LDX | BPF_IMM: x = op.k; break;
      case BPF_LD | BPF_MEM: a = op.k < BPF_MEMWORDS ? memory[op.k] : 0; break;
      case BPF_LDX | BPF_MEM: x = op.k < BPF_MEMWORDS ? memory[op.k] : 0; break;
      case BPF_ST:
        if (op.k < BPF_MEMWORDS) memory[op.k] = a;
        break;
      case BPF_STX:
        if (op.k < BPF_MEMWORDS) memory[op.k] = x;
        break;
      case BPF_MISC | BPF_TAX: x = a; break;
      case BPF_MISC | BPF_TXA: a = x; break;
      case BPF_ALU | BPF_ADD | BPF_K:
      case BPF_ALU | BPF_ADD | BPF_X: a += operand; break;
      case BPF_ALU | BPF_SUB | BPF_K:
      case BPF_ALU | BPF_SUB | BPF_X: a -= operand; break;
      case BPF_ALU | BPF_MUL | BPF_K:
      case BPF_ALU | BPF_MUL | BPF_X: a *= operand; break;
      case BPF_ALU | BPF_DIV | BPF_K:
      case BPF_ALU | BPF_DIV | BPF_X:
        if (operand == 0) return kKill;
        a /= operand;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
      case BPF_ALU | BPF_AND | BPF_X: a &= operand; break;
      case BPF_ALU | BPF_OR | BPF_K:
      case BPF_ALU | BPF_OR | BPF_X: a |= operand; break;
      case BPF_ALU | BPF_XOR | BPF_K:
      case BPF_ALU | BPF_XOR | BPF_X: a ^= operand; break;
      case BPF_ALU | BPF_LSH | BPF_K:
      case BPF_ALU | BPF_LSH | BPF_X: a = operand < 32 ? a << operand : 0; break;
      case BPF_ALU | BPF_RSH | BPF_K:
      case BPF_ALU | BPF_RSH | BPF_X: a = operand < 32 ? a >> operand : 0; break;
      case BPF_ALU | BPF_NEG: a = -a; break;
      case BPF_JMP | BPF_JA: pc += op.k; break;
      case BPF_JMP | BPF_JEQ | BPF_K:
      case BPF_JMP | BPF_JEQ | BPF_X: pc += a == operand ? op.jt : op.jf; break;
      case BPF_JMP | BPF_JGT | BPF_K:
      case BPF_JMP | BPF_JGT | BPF_X: pc += a > operand ? op.jt : op.jf; break;
      case BPF_JMP | BPF_JGE | BPF_K:
      case BPF_JMP | BPF_JGE | BPF_X: pc += a >= operand ? op.jt : op.jf; break;
      case BPF_JMP | BPF_JSET | BPF_K:
      case BPF_JMP | BPF_JSET | BPF_X: pc += (a & operand) != 0 ? op.jt : op.jf; break;
      case BPF_RET | BPF_K: return op.k;
      case BPF_RET | BPF_A: return a;
      default: return kKill;
    }
  }
  return kKill;
}

void check_seccomp_call(long operation, const void* argument) {
  if (operation == SECCOMP_SET_MODE_FILTER) check_filter(static_cast<const sock_fprog*>(argument));
  if (operation == SECCOMP_SET_MODE_STRICT && socket_name() != nullptr)
    say("this program enters strict seccomp mode: its next call to the kernel's devices kills it, as it would on Linux\n");
}

}  // namespace causeway::shim

// Programs install filters through prctl(2), seccomp(2) by number (see interpose_ioctl.cc), or libseccomp, which
// uses one of the two.
CW_INTERPOSE int prctl(int option, ...) {
  using Prctl = int(int, unsigned long, unsigned long, unsigned long, unsigned long);
  va_list arguments;
  va_start(arguments, option);
  unsigned long a = va_arg(arguments, unsigned long), b = va_arg(arguments, unsigned long);
  unsigned long c = va_arg(arguments, unsigned long), d = va_arg(arguments, unsigned long);
  va_end(arguments);
  if (option == PR_SET_SECCOMP) {
    causeway::shim::check_seccomp_call(a == SECCOMP_MODE_FILTER ? SECCOMP_SET_MODE_FILTER : SECCOMP_SET_MODE_STRICT,
                                       reinterpret_cast<const void*>(b));
  }
  return CW_NEXT(prctl, Prctl)(option, a, b, c, d);
}
