// what: a loop of epoll that takes `tasks` in its handlers, and who posts takes it too, then writes to the loop's own pipe
// truth: N
// expect: silent
#include <sys/epoll.h>
#include <unistd.h>

#include "corpus.h"

static pthread_mutex_t tasks = PTHREAD_MUTEX_INITIALIZER;
static int wake[2], queued, done;
enum { kTasks = 10 };

static void *loop(void *arg) {
  int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(epoll, EPOLL_CTL_ADD, wake[0], &event);
  while (done < 2 * kTasks) {
    if (epoll_wait(epoll, &event, 1, -1) != 1) continue;
    char buffer[64];
    if (read(wake[0], buffer, sizeof buffer) < 0) continue;
    pthread_mutex_lock(&tasks);
    done += queued;
    queued = 0;
    pthread_mutex_unlock(&tasks);
  }
  close(epoll);
  return arg;
}

static void *poster(void *arg) {
  at_ms(10 * (intptr_t)arg);
  for (int i = 0; i < kTasks; ++i) {
    pthread_mutex_lock(&tasks);
    ++queued;
    if (write(wake[1], "x", 1) != 1) queued = 0;
    pthread_mutex_unlock(&tasks);
    for_ms(2);
  }
  return arg;
}

int main(void) {
  if (pipe(wake) != 0) return 2;
  RUN_TOGETHER(loop, poster, poster);
  return 0;
}
