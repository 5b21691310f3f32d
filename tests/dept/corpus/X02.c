// what: an event made by hand of a futex: who raises it takes `table` before and after, and who waits holds another lock
// truth: N
// expect: silent
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t screen = PTHREAD_MUTEX_INITIALIZER;
static atomic_int raised;

static void *draw(void *arg) {
  at_ms(15 * (intptr_t)arg);
  pthread_mutex_lock(&screen);
  while (!atomic_load(&raised)) syscall(SYS_futex, &raised, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  pthread_mutex_unlock(&screen);
  return arg;
}

static void *load(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&table);
  pthread_mutex_unlock(&table);
  atomic_store(&raised, 1);
  syscall(SYS_futex, &raised, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
  pthread_mutex_lock(&table);
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  RUN_TOGETHER(draw, draw, load);
  return 0;
}
