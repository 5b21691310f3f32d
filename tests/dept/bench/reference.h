// What the reference programs share: a count of rounds as argument, threads that begin together, and one line in the end.
//
//   int main(int argc, char **argv) { return measure(argc, argv, 2, work); }     // prints: ns_per_round 12.3
#ifndef CAUSEWAY_TESTS_DEPT_REFERENCE_H_
#define CAUSEWAY_TESTS_DEPT_REFERENCE_H_

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long rounds;
static pthread_barrier_t begin;

struct part {
  pthread_t thread;
  int number;
  void (*work)(int number, long rounds);
};

static void *run_part(void *arg) {
  struct part *part = arg;
  pthread_barrier_wait(&begin);
  part->work(part->number, rounds);
  return NULL;
}

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int measure(int argc, char **argv, int threads, void (*work)(int, long)) {
  struct part parts[16];
  rounds = argc > 1 ? atol(argv[1]) : 1000000;
  pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; ++i) {
    parts[i] = (struct part){.number = i, .work = work};
    pthread_create(&parts[i].thread, NULL, run_part, &parts[i]);
  }
  double from = now_ns();
  pthread_barrier_wait(&begin);
  for (int i = 0; i < threads; ++i) pthread_join(parts[i].thread, NULL);
  printf("ns_per_round %.2f\n", (now_ns() - from) / (double)rounds);
  return 0;
}

#endif
