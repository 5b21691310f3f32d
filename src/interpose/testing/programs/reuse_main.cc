// Memory of locks that is used again, by locks of another kind and in another order. Two threads, so that an order that is mistaken
// for a circle would be one.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mutex>

struct Two {
  pthread_mutex_t first, second;
};
static volatile int turn = 0;

static void in_order(pthread_mutex_t* first, pthread_mutex_t* second) {
  pthread_mutex_lock(first);
  pthread_mutex_lock(second);
  pthread_mutex_unlock(second);
  pthread_mutex_unlock(first);
}

static void init(Two* two) {
  memset(two, 0, sizeof *two);  // as PTHREAD_MUTEX_INITIALIZER: no call announces them
}

static void* other(void* two) {
  in_order(&static_cast<Two*>(two)->second, &static_cast<Two*>(two)->first);
  turn = 1;
  for (;;) pause();
}

int main() {
  auto* two = static_cast<Two*>(malloc(sizeof(Two)));
  Two* const where = two;
  init(two);
  in_order(&two->first, &two->second);
  free(two);
  two = static_cast<Two*>(malloc(sizeof(Two)));
  printf("same memory %d\n", two == where);
  init(two);
  pthread_t thread;
  pthread_create(&thread, nullptr, other, two);
  while (turn == 0) usleep(1000);

  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* mapped = static_cast<Two*>(page);
  in_order(&mapped->first, &mapped->second);
  munmap(page, 4096);
  mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  turn = 0;
  pthread_create(&thread, nullptr, other, mapped);
  while (turn == 0) usleep(1000);

  auto* made = new std::mutex[2];
  delete[] made;
  puts("done");
}
