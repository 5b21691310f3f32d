// what: a ring of three locks and three threads: one walker between a and b, one between b and c, and one who jumps back
// truth: D
// expect: likely kind=lock hops=3 names=a,b,c
#include "corpus.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t b = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t c = PTHREAD_MUTEX_INITIALIZER;

static void *walk(void *arg) {
  at_ms(25 * (intptr_t)arg);
  pthread_mutex_lock(&a);
  pthread_mutex_lock(&b);
  pthread_mutex_unlock(&a);
  pthread_mutex_lock(&c);
  pthread_mutex_unlock(&c);
  pthread_mutex_unlock(&b);
  return arg;
}

static void *jump_back(void *arg) {
  at_ms(60);
  pthread_mutex_lock(&c);
  pthread_mutex_lock(&a);
  pthread_mutex_unlock(&a);
  pthread_mutex_unlock(&c);
  return arg;
}

int main(void) {
  RUN_TOGETHER(walk, walk, jump_back);
  return 0;
}
