#include "machine/guarded_copy.h"

#include <signal.h>
#include <ucontext.h>

#include <mutex>

namespace causeway::machine {

thread_local sigjmp_buf* detail::t_bus_error_target = nullptr;

namespace {

struct sigaction g_previous;
std::once_flag g_once;
thread_local sigset_t t_mask;  // as it was when the signal came

void on_bus_error(int signal, siginfo_t* info, void* context) {
  if (sigjmp_buf* target = detail::t_bus_error_target) {
    t_mask = static_cast<ucontext_t*>(context)->uc_sigmask;
    siglongjmp(*target, 1);
  }
  if ((g_previous.sa_flags & SA_SIGINFO) != 0 && g_previous.sa_sigaction != nullptr)
    return g_previous.sa_sigaction(signal, info, context);
  if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN)
    return g_previous.sa_handler(signal);
  // Returning repeats the access, now with the default action.
  ::signal(SIGBUS, SIG_DFL);
}

}  // namespace

void detail::install_bus_error_handler() {
  std::call_once(g_once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, &g_previous);
  });
}

void detail::restore_signal_mask() {
  ::pthread_sigmask(SIG_SETMASK, &t_mask, nullptr);
}

}  // namespace causeway::machine
