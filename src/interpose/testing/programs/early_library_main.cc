// A library with a lock that its constructor takes: as early_program_main's own, and as what that loads.
#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int locks = 0;

static int lock() {
  pthread_mutex_lock(&mutex);
  const int count = ++locks;
  pthread_mutex_unlock(&mutex);
  return count;
}

[[gnu::constructor]] static void constructor() { lock(); }

extern "C" int early_locks() { return lock(); }
extern "C" int plugin_locks() { return lock(); }
