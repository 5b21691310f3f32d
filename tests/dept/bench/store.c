// The load of a small database: readers and a writer of pages under reader-writer locks, a cache under a mutex, a log whose writer is
// told by a condition. Each operation checks or changes a page of 1 KiB.
#include "reference.h"

enum { kPages = 64, kWords = 128 };
static pthread_rwlock_t page_locks[kPages];
static uint64_t pages[kPages][kWords];
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static long hits[kPages];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t log_written = PTHREAD_COND_INITIALIZER;
static long log_end;
static volatile uint64_t sink;

static uint64_t read_page(unsigned page) {
  uint64_t sum = 0;
  pthread_rwlock_rdlock(&page_locks[page]);
  for (int i = 0; i < kWords; ++i) sum = sum * 31 + pages[page][i];
  pthread_rwlock_unlock(&page_locks[page]);
  return sum;
}

static void write_page(unsigned page, uint64_t value) {
  pthread_rwlock_wrlock(&page_locks[page]);
  for (int i = 0; i < kWords; ++i) pages[page][i] = value + (uint64_t)i;
  pthread_mutex_lock(&log_lock);
  ++log_end;
  pthread_cond_signal(&log_written);
  pthread_mutex_unlock(&log_lock);
  pthread_rwlock_unlock(&page_locks[page]);
}

static void work(int number, long count) {
  uint64_t random = (uint64_t)number * 7919 + 1, sum = 0;
  for (long i = 0; i < count; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    unsigned page = (unsigned)(random >> 58);
    pthread_mutex_lock(&cache_lock);
    ++hits[page];
    pthread_mutex_unlock(&cache_lock);
    if (i % 8 == 0) write_page(page, random);
    else sum += read_page(page);
  }
  sink = sum;
}

int main(int argc, char **argv) {
  for (int i = 0; i < kPages; ++i) pthread_rwlock_init(&page_locks[i], NULL);
  return measure(argc, argv, 2, work);
}
