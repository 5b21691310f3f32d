// Two threads, each with four locks of its own, one inside the other.
#include "reference.h"

struct level {
  _Alignas(128) pthread_mutex_t lock[4];
  long value;
};
static struct level levels[2];

static void work(int number, long count) {
  struct level *mine = &levels[number];
  for (long i = 0; i < count; ++i) {
    for (int depth = 0; depth < 4; ++depth) pthread_mutex_lock(&mine->lock[depth]);
    ++mine->value;
    for (int depth = 3; depth >= 0; --depth) pthread_mutex_unlock(&mine->lock[depth]);
  }
}

int main(int argc, char **argv) {
  for (int i = 0; i < 8; ++i) pthread_mutex_init(&levels[i / 4].lock[i % 4], NULL);
  return measure(argc, argv, 2, work);
}
