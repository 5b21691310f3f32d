// Preloaded by check-truth: threads lose time at random where they lock, wait and wake, and come at random to what the corpus'
// clock spreads out, so that programs which can deadlock do.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static _Thread_local uint64_t seed;

static unsigned any(unsigned below) {
  if (seed == 0) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seed = ((uint64_t)now.tv_nsec << 20) ^ (uint64_t)(uintptr_t)&seed ^ (uint64_t)getpid();
  }
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(seed >> 33) % below;
}

static int (*real_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);

static void lose_us(unsigned at_most) {
  if (!real_nanosleep) *(void **)&real_nanosleep = dlsym(RTLD_NEXT, "clock_nanosleep");
  struct timespec time = {0, (long)any(at_most) * 1000};
  real_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}
static void shake(void) {
  if (any(3) != 0) lose_us(4000);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest) {
  if (flags & TIMER_ABSTIME) return lose_us(any(4) == 0 ? 40000 : 8000), 0;
  if (!real_nanosleep) *(void **)&real_nanosleep = dlsym(RTLD_NEXT, "clock_nanosleep");
  return real_nanosleep(clock, flags, time, rest);
}

#define SHAKEN(result, name, declared, passed)                     \
  result name declared {                                           \
    static result(*real) declared;                                 \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);          \
    shake();                                                       \
    return real passed;                                            \
  }
SHAKEN(int, pthread_mutex_lock, (pthread_mutex_t *lock), (lock))
SHAKEN(int, pthread_mutex_unlock, (pthread_mutex_t *lock), (lock))
SHAKEN(int, pthread_rwlock_rdlock, (pthread_rwlock_t *lock), (lock))
SHAKEN(int, pthread_rwlock_wrlock, (pthread_rwlock_t *lock), (lock))
SHAKEN(int, sem_wait, (sem_t *sem), (sem))
SHAKEN(int, sem_post, (sem_t *sem), (sem))
SHAKEN(int, pthread_barrier_wait, (pthread_barrier_t *barrier), (barrier))
SHAKEN(int, pthread_join, (pthread_t thread, void **value), (thread, value))
SHAKEN(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
SHAKEN(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))

int __cxa_guard_acquire(uint64_t *guard) {
  static int (*real)(uint64_t *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "__cxa_guard_acquire");
  int mine = real(guard);
  if (mine) shake();
  return mine;
}
