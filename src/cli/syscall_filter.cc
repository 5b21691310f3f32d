#include "cli/syscall_filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace causeway::cli {
namespace {

#if defined(__x86_64__)
constexpr unsigned kArchitecture = AUDIT_ARCH_X86_64;
#else
constexpr unsigned kArchitecture = AUDIT_ARCH_AARCH64;
#endif

constexpr int kTrapped[] = {
    SYS_openat, SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_faccessat2,
#ifdef SYS_open
    SYS_open,   SYS_stat,       SYS_lstat, SYS_access,
#endif
};

sock_filter load(size_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset)); }
sock_filter give(unsigned verdict) { return BPF_STMT(BPF_RET | BPF_K, verdict); }
// Skips the next instruction unless the accumulator is `value`.
sock_filter if_equal(unsigned value) { return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1); }

}  // namespace

std::vector<sock_filter> make_filter(const std::vector<unsigned>& ioctl_types) {
  std::vector<sock_filter> filter{
      load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      give(SECCOMP_RET_ALLOW),  // a 32-bit program's calls have other numbers
      load(offsetof(seccomp_data, nr)),
  };
  for (int number : kTrapped) {
    filter.push_back(if_equal(static_cast<unsigned>(number)));
    filter.push_back(give(SECCOMP_RET_USER_NOTIF));
  }
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 1, 0));
  filter.push_back(give(SECCOMP_RET_ALLOW));
  filter.push_back(load(offsetof(seccomp_data, args[1])));  // little-endian: the low half comes first
  filter.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00));
  for (unsigned type : ioctl_types) {
    filter.push_back(if_equal(type << 8));
    filter.push_back(give(SECCOMP_RET_USER_NOTIF));
  }
  filter.push_back(give(SECCOMP_RET_ALLOW));
  return filter;
}

Result<UniqueFd> install_filter(std::vector<sock_filter>& filter) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_with_errno("cannot give up new privileges");
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  // Once the supervisor has taken a call up, only a fatal signal ends it: nobody sees half of one, nor one twice (Linux 5.19).
  constexpr unsigned kWaitKillable = 1u << 5;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
  long listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | kWaitKillable, &program);
  if (listener < 0 && errno == EINVAL)
    listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (listener < 0) return fail_with_errno("the host has no seccomp user notification");
  return UniqueFd(static_cast<int>(listener));
}

}  // namespace causeway::cli
