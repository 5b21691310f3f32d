// what: two locks made by hand of futexes, taken in two orders, each contended once
// truth: D
// expect: possible
// level: possible
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "corpus.h"

// 0: free, 1: taken, 2: taken and waited for
static atomic_int left, right;

static void lock(atomic_int *word) {
  int seen = 0;
  if (atomic_compare_exchange_strong(word, &seen, 1)) return;
  while (atomic_exchange(word, 2) != 0) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static void unlock(atomic_int *word) {
  if (atomic_exchange(word, 0) == 2) syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

// Each lock is waited for once by somebody who holds the other, and once by somebody who holds nothing.
static void *hold_left(void *arg) {
  lock(&left);
  at_ms(40);
  unlock(&left);
  return arg;
}

static void *right_then_left(void *arg) {
  at_ms(15);
  lock(&right);
  lock(&left);
  unlock(&left);
  unlock(&right);
  return arg;
}

static void *hold_right(void *arg) {
  at_ms(60);
  lock(&right);
  at_ms(100);
  unlock(&right);
  return arg;
}

static void *left_then_right(void *arg) {
  at_ms(75);
  lock(&left);
  lock(&right);
  unlock(&right);
  unlock(&left);
  return arg;
}

static void *want(void *arg) {
  int first = (intptr_t)arg == 4;
  at_ms(first ? 25 : 85);
  lock(first ? &right : &left);
  unlock(first ? &right : &left);
  return arg;
}

int main(void) {
  RUN_TOGETHER(hold_left, right_then_left, hold_right, left_then_right, want, want);
  return 0;
}
