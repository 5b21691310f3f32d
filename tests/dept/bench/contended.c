// Two threads that want one lock all the time, and work a little with and without it.
#include "reference.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long shared;

static void spin(int times) {
  for (int i = 0; i < times; ++i) __asm__ volatile("" ::: "memory");
}

static void work(int number, long count) {
  (void)number;
  for (long i = 0; i < count; ++i) {
    pthread_mutex_lock(&lock);
    ++shared;
    spin(300);
    pthread_mutex_unlock(&lock);
    spin(300);
  }
}

int main(int argc, char **argv) { return measure(argc, argv, 2, work); }
