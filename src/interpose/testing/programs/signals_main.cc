// Signals, and all the ways out of a handler: run with and without the library, its output is the same.
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

namespace {

#define SHOW(expression)                                          \
  do {                                                            \
    errno = 77;                                                   \
    const long shown = static_cast<long>(expression);             \
    printf("%-60s %ld %d\n", #expression, shown, errno);          \
  } while (0)

volatile int count = 0;
volatile int nested = 0, deepest = 0;
volatile long info_value = 0;
sigjmp_buf way_out;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void plain(int) {
  count = count + 1;
  errno = 5;
}
void with_info(int, siginfo_t* info, void* context) { info_value = context != nullptr ? info->si_value.sival_int : -1; }
void nests(int number) {
  nested = nested + 1;
  if (nested > deepest) deepest = nested;
  if (nested < 3) raise(number);
  nested = nested - 1;
}
void jumps(int) { siglongjmp(way_out, 1); }
char alternate[1 << 16];
volatile bool on_alternate = false;
void where(int) {
  char here;
  on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
}
void jumps_from_alternate(int) {
  where(0);
  siglongjmp(way_out, 1);
}
void locks(int) {
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
}

struct sigaction make(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  return action;
}

void actions() {
  struct sigaction action = make(plain, SA_RESTART), old{};
  SHOW(sigaction(SIGUSR1, &action, &old));
  SHOW(old.sa_handler == SIG_DFL);
  SHOW(sigaction(SIGUSR1, nullptr, &old));
  SHOW(old.sa_handler == plain);
  SHOW(old.sa_flags & (SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_RESETHAND | SA_ONSTACK));
  SHOW(raise(SIGUSR1));
  SHOW(count);
  struct sigaction info{};
  info.sa_sigaction = with_info;
  info.sa_flags = SA_SIGINFO;
  SHOW(sigaction(SIGUSR2, &info, &old));
  SHOW(sigaction(SIGUSR2, nullptr, &old));
  SHOW(old.sa_sigaction == with_info);
  SHOW(old.sa_flags & SA_SIGINFO);
  sigval value{};
  value.sival_int = 1234;
  SHOW(sigqueue(getpid(), SIGUSR2, value));
  SHOW(info_value);
  SHOW(signal(SIGUSR1, SIG_IGN) == plain);
  SHOW(raise(SIGUSR1));
  SHOW(signal(SIGUSR1, plain) == SIG_IGN);
  SHOW(signal(SIGUSR1, plain) == plain);
  SHOW(raise(SIGUSR1));
  SHOW(count);
  action = make(plain, SA_RESETHAND);
  SHOW(sigaction(SIGUSR1, &action, nullptr));
  SHOW(raise(SIGUSR1));
  SHOW(sigaction(SIGUSR1, nullptr, &old));
  SHOW(old.sa_handler == SIG_DFL);
  action = make(nests, SA_NODEFER);
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  SHOW(deepest);
  SHOW(sigaction(SIGKILL, &action, nullptr));
  SHOW(sigaction(0, &action, nullptr));
  SHOW(sigaction(65, nullptr, &old));
  SHOW(signal(SIGKILL, plain) == SIG_ERR);
}

void masks() {
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  struct sigaction action = make(plain, 0);
  sigaction(SIGUSR1, &action, nullptr);
  count = 0;
  SHOW(sigprocmask(SIG_BLOCK, &set, &old));
  SHOW(sigismember(&old, SIGUSR1));
  raise(SIGUSR1);
  SHOW(count);
  SHOW(pthread_sigmask(SIG_UNBLOCK, &set, &old));
  SHOW(count);
  SHOW(sigismember(&old, SIGUSR1));
  SHOW(pthread_sigmask(99, &set, nullptr));
}

void ways_out() {
  int ends[2];
  pipe(ends);
  struct sigaction action = make(jumps, 0);
  sigaction(SIGALRM, &action, nullptr);
  volatile int times = 0;
  while (times < 20) {
    if (sigsetjmp(way_out, 1) != 0) {
      times = times + 1;
      continue;
    }
    ualarm(1000, 0);
    char byte;
    if (read(ends[0], &byte, 1) != -2) break;
  }
  SHOW(times);
  stack_t stack{};
  stack.ss_sp = alternate;
  stack.ss_size = sizeof alternate;
  SHOW(sigaltstack(&stack, nullptr));
  action = make(where, SA_ONSTACK);
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  SHOW(on_alternate);
  on_alternate = false;
  action = make(jumps_from_alternate, SA_ONSTACK);
  sigaction(SIGUSR1, &action, nullptr);
  if (sigsetjmp(way_out, 1) == 0) raise(SIGUSR1);
  SHOW(on_alternate);
  sigset_t now;
  sigprocmask(SIG_SETMASK, nullptr, &now);
  SHOW(sigismember(&now, SIGUSR1));
  action = make(locks, 0);
  sigaction(SIGUSR1, &action, nullptr);
  for (int i = 0; i < 100; ++i) raise(SIGUSR1);
  for (int fd : ends) close(fd);
}

}  // namespace

int main() {
  actions();
  masks();
  ways_out();
  return 0;
}
