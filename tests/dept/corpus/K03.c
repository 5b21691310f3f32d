// what: the handler before a fork locks in another order than the program's threads do
// truth: D
// expect: likely kind=lock hops=2 names=heap,names
#include <sys/wait.h>
#include <unistd.h>

#include "corpus.h"

static pthread_mutex_t heap = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
static int status = -1;

static void before_fork(void) {
  pthread_mutex_lock(&heap);
  pthread_mutex_lock(&names);
}

static void after_fork(void) {
  pthread_mutex_unlock(&names);
  pthread_mutex_unlock(&heap);
}

static void *add_name(void *arg) {
  pthread_mutex_lock(&names);
  pthread_mutex_lock(&heap);
  pthread_mutex_unlock(&heap);
  pthread_mutex_unlock(&names);
  return arg;
}

static void *run_helper(void *arg) {
  at_ms(30);
  pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, &status, 0);
  return arg;
}

int main(void) {
  pthread_atfork(before_fork, after_fork, after_fork);
  RUN_TOGETHER(add_name, run_helper);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
