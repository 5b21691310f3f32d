// Every lock and thread call, in good and in bad use, with what it returned and what errno was after it. The output must be the same
// with the library and without it.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <functional>

namespace {

#define SHOW(call)                                                         \
  do {                                                                     \
    errno = 77;                                                            \
    const int result = (call);                                             \
    const int error = errno;                                               \
    printf("%s: %s = %d, errno %d\n", __func__, #call, result, error);     \
  } while (0)

void on_thread(const std::function<void()>& what) {
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void* f) -> void* {
    (*static_cast<const std::function<void()>*>(f))();
    return nullptr;
  }, const_cast<std::function<void()>*>(&what));
  pthread_join(thread, nullptr);
}

timespec soon(clockid_t clock, long ms) {
  timespec until;
  clock_gettime(clock, &until);
  until.tv_nsec += ms * 1'000'000;
  until.tv_sec += until.tv_nsec / 1'000'000'000;
  until.tv_nsec %= 1'000'000'000;
  return until;
}

void mutex_of(int type, int robust, int protocol) {
  printf("mutex type %d robust %d protocol %d\n", type, robust, protocol);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type);
  pthread_mutexattr_setrobust(&attributes, robust);
  pthread_mutexattr_setprotocol(&attributes, protocol);
  pthread_mutex_t mutex;
  SHOW(pthread_mutex_init(&mutex, &attributes));
  SHOW(pthread_mutex_lock(&mutex));
  SHOW(pthread_mutex_trylock(&mutex));
  if (type == PTHREAD_MUTEX_RECURSIVE) SHOW(pthread_mutex_unlock(&mutex));
  if (type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK) SHOW(pthread_mutex_lock(&mutex));
  if (type == PTHREAD_MUTEX_RECURSIVE) SHOW(pthread_mutex_unlock(&mutex));
  if (type == PTHREAD_MUTEX_NORMAL && robust == 0 && protocol == 0) {
    const timespec until = soon(CLOCK_REALTIME, 1);
    SHOW(pthread_mutex_timedlock(&mutex, &until));
  }
  SHOW(pthread_mutex_destroy(&mutex));
  on_thread([&] {
    SHOW(pthread_mutex_trylock(&mutex));
    const timespec until = soon(CLOCK_REALTIME, 2);
    SHOW(pthread_mutex_timedlock(&mutex, &until));
    const timespec monotonic = soon(CLOCK_MONOTONIC, 2);
    SHOW(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &monotonic));
    SHOW(pthread_mutex_clocklock(&mutex, CLOCK_PROCESS_CPUTIME_ID, &monotonic));
    const timespec bad{0, 2'000'000'000};
    SHOW(pthread_mutex_timedlock(&mutex, &bad));
    if (type == PTHREAD_MUTEX_ERRORCHECK || type == PTHREAD_MUTEX_RECURSIVE || robust != 0 || protocol != 0) {
      SHOW(pthread_mutex_unlock(&mutex));
    }
  });
  SHOW(pthread_mutex_unlock(&mutex));
  if (type == PTHREAD_MUTEX_ERRORCHECK || type == PTHREAD_MUTEX_RECURSIVE) SHOW(pthread_mutex_unlock(&mutex));
  const timespec until = soon(CLOCK_REALTIME, 1000);
  SHOW(pthread_mutex_timedlock(&mutex, &until));
  SHOW(pthread_mutex_unlock(&mutex));
  if (robust != 0) {
    on_thread([&] { SHOW(pthread_mutex_lock(&mutex)); });
    SHOW(pthread_mutex_lock(&mutex));
    SHOW(pthread_mutex_consistent(&mutex));
    SHOW(pthread_mutex_unlock(&mutex));
    on_thread([&] { SHOW(pthread_mutex_lock(&mutex)); });
    SHOW(pthread_mutex_trylock(&mutex));
    SHOW(pthread_mutex_unlock(&mutex));
    SHOW(pthread_mutex_lock(&mutex));
    SHOW(pthread_mutex_trylock(&mutex));
  }
  SHOW(pthread_mutex_destroy(&mutex));
  pthread_mutexattr_destroy(&attributes);
}

void rwlock_of(int kind) {
  printf("rwlock kind %d\n", kind);
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setkind_np(&attributes, kind);
  pthread_rwlock_t lock;
  SHOW(pthread_rwlock_init(&lock, &attributes));
  SHOW(pthread_rwlock_rdlock(&lock));
  SHOW(pthread_rwlock_tryrdlock(&lock));
  SHOW(pthread_rwlock_trywrlock(&lock));
  on_thread([&] {
    const timespec until = soon(CLOCK_REALTIME, 2);
    SHOW(pthread_rwlock_timedwrlock(&lock, &until));
    SHOW(pthread_rwlock_timedrdlock(&lock, &until));
    SHOW(pthread_rwlock_unlock(&lock));
  });
  SHOW(pthread_rwlock_unlock(&lock));
  SHOW(pthread_rwlock_unlock(&lock));
  SHOW(pthread_rwlock_wrlock(&lock));
  SHOW(pthread_rwlock_wrlock(&lock));
  SHOW(pthread_rwlock_rdlock(&lock));
  SHOW(pthread_rwlock_tryrdlock(&lock));
  SHOW(pthread_rwlock_trywrlock(&lock));
  on_thread([&] {
    const timespec until = soon(CLOCK_MONOTONIC, 2);
    SHOW(pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &until));
    SHOW(pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &until));
    SHOW(pthread_rwlock_clockwrlock(&lock, CLOCK_PROCESS_CPUTIME_ID, &until));
    const timespec bad{0, -1};
    SHOW(pthread_rwlock_timedrdlock(&lock, &bad));
  });
  SHOW(pthread_rwlock_unlock(&lock));
  SHOW(pthread_rwlock_destroy(&lock));
  pthread_rwlockattr_destroy(&attributes);
}

void spin() {
  pthread_spinlock_t lock;
  SHOW(pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
  SHOW(pthread_spin_lock(&lock));
  SHOW(pthread_spin_trylock(&lock));
  SHOW(pthread_spin_unlock(&lock));
  SHOW(pthread_spin_trylock(&lock));
  SHOW(pthread_spin_unlock(&lock));
  SHOW(pthread_spin_destroy(&lock));
}

void* sleeper(void* ms) {
  usleep(static_cast<useconds_t>(reinterpret_cast<long>(ms)) * 1000);
  return reinterpret_cast<void*>(5);
}

void threads() {
  SHOW(pthread_join(pthread_self(), nullptr));
  pthread_t thread;
  void* value = nullptr;
  SHOW(pthread_create(&thread, nullptr, sleeper, reinterpret_cast<void*>(60)));
  SHOW(pthread_tryjoin_np(thread, &value));
  timespec until = soon(CLOCK_REALTIME, 5);
  SHOW(pthread_timedjoin_np(thread, &value, &until));
  until = soon(CLOCK_MONOTONIC, 5);
  SHOW(pthread_clockjoin_np(thread, &value, CLOCK_MONOTONIC, &until));
  SHOW(pthread_setname_np(thread, "a name that is too long"));
  SHOW(pthread_setname_np(thread, "short"));
  SHOW(pthread_join(thread, &value));
  printf("value %ld\n", reinterpret_cast<long>(value));
  SHOW(pthread_create(&thread, nullptr, sleeper, reinterpret_cast<void*>(60'000)));
  SHOW(pthread_cancel(thread));
  SHOW(pthread_join(thread, &value));
  printf("cancelled %d\n", value == PTHREAD_CANCELED);
  pthread_create(&thread, nullptr, [](void*) -> void* { pthread_exit(reinterpret_cast<void*>(9)); }, nullptr);
  SHOW(pthread_join(thread, &value));
  printf("value %ld\n", reinterpret_cast<long>(value));
  pthread_create(&thread, nullptr, sleeper, reinterpret_cast<void*>(20));
  SHOW(pthread_detach(thread));
  SHOW(pthread_join(thread, nullptr));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  cpu_set_t none;
  CPU_ZERO(&none);
  pthread_attr_setaffinity_np(&attributes, sizeof none, &none);
  SHOW(pthread_create(&thread, &attributes, sleeper, nullptr));
}

}  // namespace

int main() {
  for (int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT}) {
    for (int robust : {0, 1}) {
      for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP}) {
        mutex_of(type, robust, protocol);
      }
    }
  }
  for (int kind : {0, 1, 2}) rwlock_of(kind);
  spin();
  threads();
}
