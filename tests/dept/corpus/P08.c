// what: shape of Chromium: user-interface threads, each in the midst of a task, wait for a reply of input and output, whose threads wait for one of the user interface;
// if the two who only wait are answered first, the two who must still answer wait for each other
// truth: D
// expect: likely kind=comm hops=2
#include "corpus.h"

struct event {
  pthread_mutex_t mutex;
  pthread_cond_t raised;
  int count;
};

static struct event io_reply = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
static struct event ui_reply = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

// Of each thread: held while a task runs.
static pthread_mutex_t task[4] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                  PTHREAD_MUTEX_INITIALIZER};

static void wait_for(struct event *event) {
  pthread_mutex_lock(&event->mutex);
  while (event->count == 0) pthread_cond_wait(&event->raised, &event->mutex);
  --event->count;
  pthread_mutex_unlock(&event->mutex);
}

static void raise_event(struct event *event) {
  pthread_mutex_lock(&event->mutex);
  ++event->count;
  pthread_cond_signal(&event->raised);
  pthread_mutex_unlock(&event->mutex);
}

static void *ui_thread(void *arg) {
  int answer = (intptr_t)arg == 1;
  at_ms(answer ? 75 : 0);
  pthread_mutex_lock(&task[(intptr_t)arg]);
  wait_for(&io_reply);
  if (answer) raise_event(&ui_reply);
  pthread_mutex_unlock(&task[(intptr_t)arg]);
  return arg;
}

static void *io_thread(void *arg) {
  int answer = (intptr_t)arg == 2;
  at_ms(answer ? 15 : 60);
  pthread_mutex_lock(&task[(intptr_t)arg]);
  wait_for(&ui_reply);
  if (answer) raise_event(&io_reply);
  pthread_mutex_unlock(&task[(intptr_t)arg]);
  return arg;
}

static void *window_manager(void *arg) {
  at_ms(30);
  raise_event(&ui_reply);
  return arg;
}

static void *disk(void *arg) {
  at_ms(90);
  raise_event(&io_reply);
  return arg;
}

int main(void) {
  RUN_TOGETHER(ui_thread, ui_thread, io_thread, io_thread, window_manager, disk);
  return 0;
}
