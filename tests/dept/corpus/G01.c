// what: a signal handler locks what the thread it interrupts may have locked; here the signal came at another moment
// truth: D
// expect: likely names=statistics
#include <signal.h>

#include "corpus.h"

static pthread_mutex_t statistics = PTHREAD_MUTEX_INITIALIZER;
static volatile int requests, shown;
static pthread_t server;

static void on_usr1(int signal) {
  (void)signal;
  pthread_mutex_lock(&statistics);
  shown = requests;
  pthread_mutex_unlock(&statistics);
}

static void *serve(void *arg) {
  for (int i = 0; i < 4; ++i) {
    at_ms(10 + 20 * i);
    pthread_mutex_lock(&statistics);
    ++requests;
    pthread_mutex_unlock(&statistics);
  }
  return arg;
}

static void *administer(void *arg) {
  at_ms(40);
  pthread_kill(server, SIGUSR1);
  return arg;
}

int main(void) {
  signal(SIGUSR1, on_usr1);
  server = pthread_self();
  pthread_t administrator;
  pthread_create(&administrator, NULL, administer, NULL);
  serve(NULL);
  pthread_join(administrator, NULL);
  return shown > 0 ? 0 : 1;
}
