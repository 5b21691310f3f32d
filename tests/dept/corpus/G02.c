// what: a signal handler locks, and every thread that locks the same keeps the signal out meanwhile
// truth: N
// expect: silent
#include <signal.h>

#include "corpus.h"

static pthread_mutex_t statistics = PTHREAD_MUTEX_INITIALIZER;
static volatile int requests, shown;

static void on_usr1(int signal) {
  (void)signal;
  pthread_mutex_lock(&statistics);
  shown = requests;
  pthread_mutex_unlock(&statistics);
}

int main(void) {
  struct sigaction action = {.sa_handler = on_usr1};
  sigaction(SIGUSR1, &action, NULL);
  sigset_t mine, before;
  sigemptyset(&mine);
  sigaddset(&mine, SIGUSR1);
  for (int i = 0; i < 3; ++i) {
    at_ms(15 * i);
    pthread_sigmask(SIG_BLOCK, &mine, &before);
    pthread_mutex_lock(&statistics);
    ++requests;
    if (i == 1) raise(SIGUSR1);
    pthread_mutex_unlock(&statistics);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  return shown == 2 ? 0 : 1;
}
