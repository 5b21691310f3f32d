// what: shape of ntfs3: one thread locks a page's bit and leaves it to another to unlock, who takes the inode first; a third waits
// for the page with that inode locked: if it comes before, all wait
// truth: D
// expect: likely kind=mixed hops=2 names=inode
#include "corpus.h"

static pthread_mutex_t inode[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t page_unlocked = PTHREAD_COND_INITIALIZER;
static int page_is_locked, size;

static void lock_page(void) {
  pthread_mutex_lock(&mutex);
  while (page_is_locked) pthread_cond_wait(&page_unlocked, &mutex);
  page_is_locked = 1;
  pthread_mutex_unlock(&mutex);
}

static void unlock_page(void) {
  pthread_mutex_lock(&mutex);
  page_is_locked = 0;
  pthread_cond_signal(&page_unlocked);
  pthread_mutex_unlock(&mutex);
}

static void *submit_read(void *arg) {
  lock_page();
  return arg;
}

// Of the pages it locks, the first is unlocked when the read into it is done.
static void *fault(void *arg) {
  int second = (intptr_t)arg == 2;
  at_ms(second ? 60 : 15);
  pthread_mutex_lock(&inode[second]);
  lock_page();
  if (second) unlock_page();
  pthread_mutex_unlock(&inode[second]);
  return arg;
}

static void *read_done(void *arg) {
  int extend = (intptr_t)arg == 3;
  at_ms(extend ? 30 : 90);
  if (extend) {
    pthread_mutex_lock(&inode[1]);
    ++size;
    pthread_mutex_unlock(&inode[1]);
  }
  unlock_page();
  return arg;
}

int main(void) {
  RUN_TOGETHER(submit_read, fault, fault, read_done, read_done);
  return size == 1 ? 0 : 1;
}
