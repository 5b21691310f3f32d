// what: a process forks while another of its threads has `cache` locked; in the child nobody will ever unlock it
// truth: D
// expect: likely kind=fork names=cache
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "corpus.h"

static pthread_mutex_t cache = PTHREAD_MUTEX_INITIALIZER;
static int entries, status;

static void *fill(void *arg) {
  pthread_mutex_lock(&cache);
  ++entries;
  at_ms(60);
  pthread_mutex_unlock(&cache);
  return arg;
}

static void *run_helper(void *arg) {
  at_ms(25);
  pid_t child = fork();
  if (child == 0) {
    struct itimerval limit = {.it_value = {.tv_usec = 400000}};
    setitimer(ITIMER_REAL, &limit, NULL);
    pthread_mutex_lock(&cache);
    _exit(entries);
  }
  waitpid(child, &status, 0);
  return arg;
}

int main(void) {
  RUN_TOGETHER(fill, run_helper);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? 0 : 1;
}
