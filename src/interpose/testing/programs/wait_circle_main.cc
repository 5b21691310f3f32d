// wait_circle KIND crossed|safe: two wait for one event, two make it. Crossed: one waits while it holds a mutex that one of the others
// takes before it makes the event. All of it at different times, so that it ends well. Kinds of epoll: an eventfd in a set, as it is
// (epoll), for longer than its descriptor there (epoll_dup), alone again since what was beside it has been closed (epoll_closed), removed
// (epoll_removed), is a stranger that was not added after all (epoll_refused); beside another (epoll_two), or a stranger (epoll_file), with a
// time limit (epoll_timeout), with room to be waited for as well (epoll_room). And between: who wakes has come back from a set meanwhile.
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/epoll.h>
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
int set, beside[2];

void add(int fd, uint32_t events = EPOLLIN) {
  epoll_event event{};
  event.events = events;
  if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0) _exit(4);
}

// What is read from never blocks: only the set does.
void make_set() {
  epoll_event event{};
  event.events = EPOLLIN;
  set = dup(epoll_create1(EPOLL_CLOEXEC));
  ends[0] = ends[1] = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK);
  if (pipe(beside) != 0) _exit(4);
  if (kind == "epoll_two") add(beside[0]);
  if (kind == "epoll_file") add(epoll_create1(0));
  add(ends[0], kind == "epoll_room" ? EPOLLIN | EPOLLPRI : EPOLLIN);
  if (kind == "epoll_dup") {
    const int other = dup(ends[0]);
    close(ends[0]);
    ends[0] = ends[1] = other;
  } else if (kind == "epoll_closed") {
    add(beside[0]);
    close(beside[0]);
  } else if (kind == "epoll_removed") {
    add(beside[0]);
    if (epoll_ctl(set, EPOLL_CTL_DEL, beside[0], nullptr) != 0) _exit(4);
  } else if (kind == "epoll_refused") {
    if (epoll_ctl(set, EPOLL_CTL_ADD, -1, &event) == 0 || epoll_ctl(set, EPOLL_CTL_ADD, set, &event) == 0) _exit(4);
  } else if (kind == "between") {
    add(beside[0]);
    if (write(beside[1], "x", 1) != 1) _exit(4);
  }
}

[[gnu::noinline]] void wait() {
  uint64_t bytes = 0;
  if (kind.starts_with("epoll")) {
    epoll_event event;
    while (read(ends[0], &bytes, 8) != 8) epoll_wait(set, &event, 1, kind == "epoll_timeout" ? 10'000 : -1);
    return;
  }
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
  epoll_event event;
  if (kind == "between" && epoll_wait(set, &event, 1, -1) != 1) _exit(5);
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
  if (kind.starts_with("epoll") || kind == "between") {
    make_set();
    if (kind == "between") ends[0] = ends[1] = eventfd(0, EFD_SEMAPHORE);
  } else if (kind == "eventfd") {
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
