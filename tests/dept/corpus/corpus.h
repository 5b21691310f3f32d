// What the programs of this folder share: steps of one clock that began with the program, and threads that begin together.
//
//   at_ms(20);                        // 20 ms after the program began; orders nothing
//   RUN_TOGETHER(first, second);      // C alone: a thread each, joined when all have been started
//
// CORPUS_SCALE=4 makes every step four times as long, for tools that slow a program down.
#ifndef CAUSEWAY_TESTS_DEPT_CORPUS_H_
#define CAUSEWAY_TESTS_DEPT_CORPUS_H_

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static struct timespec corpus_origin;
static long corpus_scale = 1;

__attribute__((constructor)) static void corpus_begin(void) {
  const char *scale = getenv("CORPUS_SCALE");
  if (scale && atol(scale) > 0) corpus_scale = atol(scale);
  clock_gettime(CLOCK_MONOTONIC, &corpus_origin);
}

static inline struct timespec corpus_time(long ms) {
  long long ns = corpus_origin.tv_nsec + (long long)ms * corpus_scale * 1000000;
  struct timespec when = {corpus_origin.tv_sec + (time_t)(ns / 1000000000), (long)(ns % 1000000000)};
  return when;
}

static inline void at_ms(long ms) {
  struct timespec when = corpus_time(ms);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
  }
}

static inline void for_ms(long ms) {
  struct timespec length = {ms * corpus_scale / 1000, ms * corpus_scale % 1000 * 1000000};
  nanosleep(&length, NULL);
}

#ifndef __cplusplus
typedef void *(*routine)(void *);

// Each gets its number as argument.
static inline void run_together(int count, const routine *routines) {
  pthread_t threads[64];
  for (int i = 0; i < count; ++i) pthread_create(&threads[i], NULL, routines[i], (void *)(intptr_t)i);
  for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);
}
#define RUN_TOGETHER(...) \
  run_together((int)(sizeof((const routine[]){__VA_ARGS__}) / sizeof(routine)), (const routine[]){__VA_ARGS__})

static inline void run_copies(int count, routine run) {
  routine routines[64];
  for (int i = 0; i < count; ++i) routines[i] = run;
  run_together(count, routines);
}
#endif

#endif
