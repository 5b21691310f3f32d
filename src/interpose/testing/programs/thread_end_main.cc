// What a thread still locks when its start routine has returned: destructors of its variables, and of its keys, up to the last round.
#include <pthread.h>
#include <stdio.h>

#include <mutex>

static std::mutex mutex;
static pthread_key_t key;
static int rounds = 0;

struct Local {
  int value = 0;
  ~Local() {
    const std::lock_guard hold(mutex);
    printf("variable %d\n", value);
  }
};
static thread_local Local local;

static void key_destructor(void* value) {
  const std::lock_guard hold(mutex);
  if (++rounds < 3) pthread_setspecific(key, value);
  printf("key round %d\n", rounds);
}

static void* worker(void* how) {
  pthread_setname_np(pthread_self(), "worker-name");
  local.value = 3;
  pthread_setspecific(key, &key);
  if (how != nullptr) pthread_exit(nullptr);
  return nullptr;
}

int main() {
  pthread_key_create(&key, key_destructor);
  for (void* how : {static_cast<void*>(nullptr), static_cast<void*>(&key)}) {
    rounds = 0;
    pthread_t thread;
    pthread_create(&thread, nullptr, worker, how);
    pthread_join(thread, nullptr);
  }
  const std::lock_guard hold(mutex);
  puts("done");
}
