// what: three locks in a ring of three threads: each can hold its first while its second is held by the next
// truth: D
// expect: likely kind=lock hops=3 names=users,groups,rights
#include "corpus.h"

static pthread_mutex_t users = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t groups = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t rights = PTHREAD_MUTEX_INITIALIZER;

static void both(pthread_mutex_t *first, pthread_mutex_t *second) {
  pthread_mutex_lock(first);
  pthread_mutex_lock(second);
  pthread_mutex_unlock(second);
  pthread_mutex_unlock(first);
}

static void *add_user(void *arg) {
  both(&users, &groups);
  return arg;
}

static void *change_group(void *arg) {
  at_ms(25);
  both(&groups, &rights);
  return arg;
}

static void *revoke_right(void *arg) {
  at_ms(50);
  both(&rights, &users);
  return arg;
}

int main(void) {
  RUN_TOGETHER(add_user, change_group, revoke_right);
  return 0;
}
