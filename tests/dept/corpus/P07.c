// what: shape of a timer queue: cancelling takes the task, then the queue; the queue's shutdown walks the tasks with the queue locked,
// after it waited for the running one
// truth: D
// expect: likely kind=lock hops=2 names=queue
#include "corpus.h"

struct task {
  pthread_mutex_t lock;
  int cancelled;
};

static pthread_mutex_t queue = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static struct task backup = {.lock = PTHREAD_MUTEX_INITIALIZER};
static int running = 1, length = 1;

static void *cancel(void *arg) {
  pthread_mutex_lock(&backup.lock);
  backup.cancelled = 1;
  pthread_mutex_lock(&queue);
  --length;
  pthread_mutex_unlock(&queue);
  pthread_mutex_unlock(&backup.lock);
  return arg;
}

static void *finish_running(void *arg) {
  at_ms(50);
  pthread_mutex_lock(&queue);
  running = 0;
  pthread_cond_broadcast(&idle);
  pthread_mutex_unlock(&queue);
  return arg;
}

static void *shut_down(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&queue);
  while (running) pthread_cond_wait(&idle, &queue);
  pthread_mutex_lock(&backup.lock);
  backup.cancelled = 1;
  pthread_mutex_unlock(&backup.lock);
  pthread_mutex_unlock(&queue);
  return arg;
}

int main(void) {
  RUN_TOGETHER(cancel, finish_running, shut_down);
  return 0;
}
