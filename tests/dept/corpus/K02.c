// what: a process forks while another of its threads has a lock; the child becomes another program at once
// truth: N
// expect: silent
#include <sys/wait.h>
#include <unistd.h>

#include "corpus.h"

static pthread_mutex_t cache = PTHREAD_MUTEX_INITIALIZER;
static int entries, status = -1;

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
    execl("/bin/true", "true", (char *)NULL);
    _exit(127);
  }
  waitpid(child, &status, 0);
  return arg;
}

int main(void) {
  RUN_TOGETHER(fill, run_helper);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
