// semaphores ordered|chance: a semaphore that is a lock at first, taken and given back many times at one place, and then, at the same
// place, waits for another thread's post. Two mutexes are taken in both orders: on both sides of that post, or at any time.
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>

#include <atomic>

namespace {

sem_t semaphore;
pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
std::atomic<int> stage{0};  // what the tracker does not see

void wait_for(int wanted) {
  while (stage < wanted) sched_yield();
}

void both(pthread_mutex_t& first, pthread_mutex_t& second) {
  pthread_mutex_lock(&first);
  pthread_mutex_lock(&second);
  pthread_mutex_unlock(&second);
  pthread_mutex_unlock(&first);
}

[[gnu::noinline]] void take() { sem_wait(&semaphore); }

void* waits(void* is_ordered) {
  for (int i = 0; i < 100; ++i) {
    take();
    sem_post(&semaphore);
  }
  if (is_ordered == nullptr) both(b, a);
  stage = 1;
  wait_for(3);
  take();
  if (is_ordered != nullptr) both(b, a);
  stage = 4;
  return nullptr;
}

// Takes it for good, and ends.
void* drains(void*) {
  wait_for(1);
  sem_wait(&semaphore);
  stage = 2;
  return nullptr;
}

void* posts(void*) {
  wait_for(2);
  both(a, b);
  sem_post(&semaphore);
  stage = 3;
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  void* const is_ordered = argc > 1 && strcmp(argv[1], "ordered") == 0 ? &semaphore : nullptr;
  sem_init(&semaphore, 0, 1);
  pthread_t threads[3];
  pthread_create(&threads[0], nullptr, waits, is_ordered);
  pthread_create(&threads[1], nullptr, posts, nullptr);
  pthread_create(&threads[2], nullptr, drains, nullptr);
  wait_for(4);  // a join would be one more wait for what they do
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  return 0;
}
