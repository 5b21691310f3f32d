// One thread, one lock, nothing in between: all there is is the cost of a lock and an unlock.
#include "reference.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long value;

static void work(int number, long count) {
  (void)number;
  for (long i = 0; i < count; ++i) {
    pthread_mutex_lock(&lock);
    value = i;
    pthread_mutex_unlock(&lock);
  }
}

int main(int argc, char **argv) { return measure(argc, argv, 1, work); }
