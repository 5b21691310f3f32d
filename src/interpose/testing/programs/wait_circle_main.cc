// wait_circle KIND crossed|safe: two wait for one event, two make it. Crossed: one waits while it holds a mutex that one of the others
// takes before it makes the event. All of it at different times, so that it ends well.
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>
#include <linux/futex.h>

#include <atomic>
#include <string_view>

namespace {

std::string_view kind;
bool crossed = false;

pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
mtx_t mtx;
cnd_t cnd;
sem_t semaphore;
int permits = 0;
std::atomic<int> word{0};
int ends[2];

[[gnu::noinline]] void wait() {
  uint64_t bytes = 0;
  if (kind == "cond") {
    pthread_mutex_lock(&mutex);
    while (permits == 0) pthread_cond_wait(&cond, &mutex);
    --permits;
    pthread_mutex_unlock(&mutex);
  } else if (kind == "cnd") {
    mtx_lock(&mtx);
    while (permits == 0) cnd_wait(&cnd, &mtx);
    --permits;
    mtx_unlock(&mtx);
  } else if (kind == "semaphore") {
    sem_wait(&semaphore);
  } else if (kind == "futex") {
    for (int seen = word; seen == 0 || !word.compare_exchange_strong(seen, seen - 1); seen = word)
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  } else {
    if (read(ends[0], &bytes, 8) != 8) _exit(3);
  }
}

[[gnu::noinline]] void wake() {
  const uint64_t one = 1;
  if (kind == "cond") {
    pthread_mutex_lock(&mutex);
    ++permits;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
  } else if (kind == "cnd") {
    mtx_lock(&mtx);
    ++permits;
    cnd_signal(&cnd);
    mtx_unlock(&mtx);
  } else if (kind == "semaphore") {
    sem_post(&semaphore);
  } else if (kind == "futex") {
    ++word;
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  } else {
    if (write(ends[1], &one, 8) != 8) _exit(3);
  }
}

[[gnu::noinline]] void pause_ms(int ms) { usleep(static_cast<useconds_t>(ms) * 1000); }

void* waits(void* number) {
  volatile bool holds = number != nullptr && crossed;
  pause_ms(number != nullptr ? 200 : 0);
  if (holds) pthread_mutex_lock(&held);
  wait();
  if (holds) pthread_mutex_unlock(&held);
  return nullptr;
}

void* wakes(void* number) {
  pause_ms(number != nullptr ? 300 : 100);
  if (number == nullptr) {
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
  }
  wake();
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  kind = argv[1];
  crossed = strcmp(argv[2], "crossed") == 0;
  mtx_init(&mtx, mtx_plain);
  cnd_init(&cnd);
  sem_init(&semaphore, 0, 0);
  if (kind == "eventfd") {
    ends[0] = ends[1] = eventfd(0, EFD_SEMAPHORE);
  } else if (pipe(ends) != 0) {
    return 2;
  }
  pthread_t threads[4];
  for (long i = 0; i < 4; ++i)
    pthread_create(&threads[i], nullptr, i < 2 ? waits : wakes, reinterpret_cast<void*>(i % 2));
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  return 0;
}
