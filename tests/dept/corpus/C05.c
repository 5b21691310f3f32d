// what: the waiter holds the lock of its own channel, the waker that of the channel it is told: told the same one, neither goes on
// truth: D
// expect: possible hops=2
// level: possible
#include "corpus.h"

struct channel {
  pthread_mutex_t owner, mutex;
  pthread_cond_t filled;
  int full;
};

static struct channel *channels[2];
static int told = 1;

static struct channel *new_channel(void) {
  struct channel *channel = calloc(1, sizeof *channel);
  pthread_mutex_init(&channel->owner, NULL);
  pthread_mutex_init(&channel->mutex, NULL);
  pthread_cond_init(&channel->filled, NULL);
  return channel;
}

static void *receive(void *arg) {
  struct channel *channel = channels[0];
  pthread_mutex_lock(&channel->owner);
  pthread_mutex_lock(&channel->mutex);
  while (!channel->full) pthread_cond_wait(&channel->filled, &channel->mutex);
  pthread_mutex_unlock(&channel->mutex);
  pthread_mutex_unlock(&channel->owner);
  return arg;
}

static void *relay(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&channels[told]->owner);
  pthread_mutex_unlock(&channels[told]->owner);
  pthread_mutex_lock(&channels[0]->mutex);
  channels[0]->full = 1;
  pthread_cond_signal(&channels[0]->filled);
  pthread_mutex_unlock(&channels[0]->mutex);
  return arg;
}

int main(int argc, char **argv) {
  if (argc > 1) told = atoi(argv[1]) % 2;
  for (int i = 0; i <= argc && i < 2; ++i) channels[i] = new_channel();
  RUN_TOGETHER(receive, relay);
  return 0;
}
