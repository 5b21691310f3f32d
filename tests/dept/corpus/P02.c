// what: shape of SQLite 1672: a recursive mutex made of two; entering locks the helper inside the main one when it looks who owns it,
// and the check locks the main one inside the helper
// truth: D
// expect: likely kind=lock hops=2 names=main_lock,owner_lock
#include "corpus.h"

static pthread_mutex_t main_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t owner_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t owner;
static int depth;

static void enter(void) {
  pthread_mutex_lock(&owner_lock);
  int mine = depth > 0 && pthread_equal(owner, pthread_self());
  if (mine) ++depth;
  pthread_mutex_unlock(&owner_lock);
  if (mine) return;
  pthread_mutex_lock(&main_lock);
  pthread_mutex_lock(&owner_lock);
  owner = pthread_self();
  depth = 1;
  pthread_mutex_unlock(&owner_lock);
}

static void leave(void) {
  pthread_mutex_lock(&owner_lock);
  int last = --depth == 0;
  pthread_mutex_unlock(&owner_lock);
  if (last) pthread_mutex_unlock(&main_lock);
}

static int is_free(void) {
  pthread_mutex_lock(&owner_lock);
  pthread_mutex_lock(&main_lock);
  int free_now = depth == 0;
  pthread_mutex_unlock(&main_lock);
  pthread_mutex_unlock(&owner_lock);
  return free_now;
}

static void *query(void *arg) {
  enter();
  enter();
  leave();
  leave();
  return arg;
}

static void *check(void *arg) {
  at_ms(30);
  return is_free() ? arg : NULL;
}

int main(void) {
  RUN_TOGETHER(query, check);
  return 0;
}
