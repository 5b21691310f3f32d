#include "cli/absent_pages.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace causeway::cli {
namespace {

uintptr_t page_size;

void put_zeros(int, siginfo_t* info, void*) {
  const int saved = errno;
  void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(info->si_addr) & ~(page_size - 1));
  // Sent by somebody, or not to be helped: it happens again, and is the end.
  if (info->si_code != BUS_ADRERR ||
      ::mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
    ::signal(SIGBUS, SIG_DFL);
  errno = saved;
}

}  // namespace

void read_absent_pages_as_zeros() {
  page_size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction handling{};
  handling.sa_sigaction = put_zeros;
  handling.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &handling, nullptr);
}

}  // namespace causeway::cli
