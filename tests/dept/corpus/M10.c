// what: a recursive mutex locked twice by the thread that has it
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t tree;
static int nodes;

static void add(int depth) {
  pthread_mutex_lock(&tree);
  ++nodes;
  if (depth > 0) add(depth - 1);
  pthread_mutex_unlock(&tree);
}

static void *grow(void *arg) {
  at_ms(15 * (intptr_t)arg);
  add(3);
  return arg;
}

int main(void) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&tree, &recursive);
  run_copies(2, grow);
  return nodes == 8 ? 0 : 1;
}
