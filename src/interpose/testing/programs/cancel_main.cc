// A thread that is cancelled while it joins another, with a lock that its cleanup handler gives back.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void* sleeper(void*) {
  for (;;) pause();
}

static void unlock(void* held) { pthread_mutex_unlock(static_cast<pthread_mutex_t*>(held)); }

static void* joiner(void* other) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock, &mutex);
  pthread_join(*static_cast<pthread_t*>(other), nullptr);
  pthread_cleanup_pop(1);
  return nullptr;
}

int main() {
  pthread_t asleep, joining;
  pthread_create(&asleep, nullptr, sleeper, nullptr);
  pthread_create(&joining, nullptr, joiner, &asleep);
  usleep(20'000);
  pthread_cancel(joining);
  void* value;
  pthread_join(joining, &value);
  printf("joiner cancelled %d\n", value == PTHREAD_CANCELED);
  pthread_cancel(asleep);
  pthread_join(asleep, &value);
  printf("sleeper cancelled %d\n", value == PTHREAD_CANCELED);
  printf("lock %d\n", pthread_mutex_lock(&mutex));
  printf("unlock %d\n", pthread_mutex_unlock(&mutex));
}
