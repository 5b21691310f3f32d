// what: a condition made by hand of two futexes, whose broadcast wakes one and moves the rest to the lock
// truth: N
// expect: silent
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "corpus.h"

static atomic_int lock_word, sequence;
static int ready;

static void lock_contended(void) {
  while (atomic_exchange(&lock_word, 2) != 0) syscall(SYS_futex, &lock_word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static void lock(void) {
  int seen = 0;
  if (!atomic_compare_exchange_strong(&lock_word, &seen, 1)) lock_contended();
}

static void unlock(void) {
  if (atomic_exchange(&lock_word, 0) == 2) syscall(SYS_futex, &lock_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wait(void) {
  int seen = atomic_load(&sequence);
  unlock();
  syscall(SYS_futex, &sequence, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  lock_contended();
}

static void broadcast(void) {
  int now = atomic_fetch_add(&sequence, 1) + 1;
  syscall(SYS_futex, &sequence, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)(intptr_t)INT_MAX, &lock_word, now);
}

static void *waiter(void *arg) {
  at_ms(5 * (intptr_t)arg);
  lock();
  while (!ready) wait();
  unlock();
  return arg;
}

static void *waker(void *arg) {
  at_ms(40);
  lock();
  ready = 1;
  broadcast();
  unlock();
  return arg;
}

int main(void) {
  RUN_TOGETHER(waiter, waiter, waiter, waker);
  return 0;
}
