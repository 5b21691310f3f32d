// What the symboliser is tested on: a library of its own, with debug information whatever the build's flags are.
#include <pthread.h>

#include <mutex>

namespace fixture {

struct Entry {
  int number;
  pthread_mutex_t lock;
};
struct Cache : Entry {
  std::mutex mu;
  Entry entries[4];
  union {
    int one;
    pthread_cond_t ready;
  };
};

Cache cache;
pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t hidden = PTHREAD_MUTEX_INITIALIZER;

const void* here;  // the program counter of the last call

__attribute__((noinline)) void note() { here = __builtin_return_address(0); }

__attribute__((always_inline)) inline void inner(int) {
  note();  // line 30
  asm volatile("");
}
__attribute__((noinline)) void outer(int value) {
  inner(value);  // line 34
  asm volatile("");
}

}  // namespace fixture

extern "C" {
const void* fixture_pc() {
  fixture::outer(1);
  return fixture::here;
}
const void* fixture_variable(int which) {
  using fixture::cache;
  switch (which) {
    case 0: return &fixture::plain;
    case 1: return &fixture::hidden;
    case 2: return &cache.mu;
    case 3: return &cache.entries[2].lock;
    case 4: return &cache.ready;
    case 5: return &cache.lock;
    default: return nullptr;
  }
}
}
