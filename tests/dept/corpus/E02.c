// what: two wait for a reply on one eventfd, two reply; one client waits with `session`, one server takes it before it replies: if the
// other's reply goes to the first client, the second waits for a server who waits for it
// truth: D
// expect: likely hops=2 names=session
#include <sys/eventfd.h>
#include <unistd.h>

#include "corpus.h"

static pthread_mutex_t session = PTHREAD_MUTEX_INITIALIZER;
static int replies;

static void wait_for_reply(void) {
  uint64_t one;
  while (read(replies, &one, sizeof one) != sizeof one) {
  }
}

static void reply(void) {
  uint64_t one = 1;
  while (write(replies, &one, sizeof one) != sizeof one) {
  }
}

static void *client(void *arg) {
  int in_session = (intptr_t)arg == 1;
  at_ms(in_session ? 60 : 0);
  if (in_session) pthread_mutex_lock(&session);
  wait_for_reply();
  if (in_session) pthread_mutex_unlock(&session);
  return arg;
}

static void *server(void *arg) {
  int look_at_session = (intptr_t)arg == 2;
  at_ms(look_at_session ? 30 : 90);
  if (look_at_session) {
    pthread_mutex_lock(&session);
    pthread_mutex_unlock(&session);
  }
  reply();
  return arg;
}

int main(void) {
  replies = eventfd(0, EFD_SEMAPHORE);
  RUN_TOGETHER(client, client, server, server);
  return 0;
}
