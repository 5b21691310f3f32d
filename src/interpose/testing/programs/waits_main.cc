// Everything that waits for an event, and what it answers: run with and without the library, its output is the same.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <signal.h>

#include <initializer_list>

namespace {

#define SHOW(expression)                                          \
  do {                                                            \
    errno = 77;                                                   \
    const long shown = static_cast<long>(expression);             \
    printf("%-60s %ld %d\n", #expression, shown, errno);          \
  } while (0)

timespec in_ms(clockid_t clock, long ms) {
  timespec when;
  clock_gettime(clock, &when);
  when.tv_nsec += ms * 1000000;
  when.tv_sec += when.tv_nsec / 1000000000;
  when.tv_nsec %= 1000000000;
  return when;
}

void start(pthread_t* thread, void* (*routine)(void*), void* argument = nullptr) {
  pthread_create(thread, nullptr, routine, argument);
}

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
int turn = 0;

void* take_turn(void*) {
  pthread_mutex_lock(&mutex);
  turn = 1;
  pthread_cond_signal(&cond);
  while (turn != 2) pthread_cond_wait(&cond, &mutex);
  pthread_mutex_unlock(&mutex);
  return nullptr;
}

void unlock_it(void* held) { pthread_mutex_unlock(static_cast<pthread_mutex_t*>(held)); }

void* wait_to_be_cancelled(void*) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock_it, &mutex);
  turn = 3;
  pthread_cond_broadcast(&cond);
  for (;;) pthread_cond_wait(&cond, &mutex);
  pthread_cleanup_pop(0);
}

void conditions() {
  pthread_cond_t own;
  SHOW(pthread_cond_init(&own, nullptr));
  pthread_mutex_lock(&mutex);
  timespec soon = in_ms(CLOCK_REALTIME, 5);
  SHOW(pthread_cond_timedwait(&own, &mutex, &soon));
  soon = in_ms(CLOCK_MONOTONIC, 5);
  SHOW(pthread_cond_clockwait(&own, &mutex, CLOCK_MONOTONIC, &soon));
  timespec bad{0, -1};
  SHOW(pthread_cond_timedwait(&own, &mutex, &bad));
  pthread_mutex_unlock(&mutex);
  SHOW(pthread_cond_signal(&own));
  SHOW(pthread_cond_broadcast(&own));
  SHOW(pthread_cond_destroy(&own));
  pthread_t other;
  pthread_mutex_lock(&mutex);
  start(&other, take_turn);
  while (turn != 1) pthread_cond_wait(&cond, &mutex);
  turn = 2;
  pthread_cond_broadcast(&cond);
  pthread_mutex_unlock(&mutex);
  pthread_join(other, nullptr);
  start(&other, wait_to_be_cancelled);
  pthread_mutex_lock(&mutex);
  while (turn != 3) pthread_cond_wait(&cond, &mutex);
  pthread_mutex_unlock(&mutex);
  SHOW(pthread_cancel(other));
  void* answer = nullptr;
  SHOW(pthread_join(other, &answer));
  SHOW(answer == PTHREAD_CANCELED);
  SHOW(pthread_mutex_trylock(&mutex));
  pthread_mutex_unlock(&mutex);
}

void ignore(int) {}
sem_t semaphore;
void* wait_for_semaphore(void*) {
  sem_wait(&semaphore);
  return nullptr;
}

void semaphores() {
  SHOW(sem_init(&semaphore, 0, 1));
  SHOW(sem_wait(&semaphore));
  SHOW(sem_trywait(&semaphore));
  timespec soon = in_ms(CLOCK_REALTIME, 5);
  SHOW(sem_timedwait(&semaphore, &soon));
  soon = in_ms(CLOCK_MONOTONIC, 5);
  SHOW(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &soon));
  SHOW(sem_post(&semaphore));
  SHOW(sem_timedwait(&semaphore, &soon));
  struct sigaction action {};
  action.sa_handler = ignore;
  sigaction(SIGALRM, &action, nullptr);
  ualarm(5000, 0);
  SHOW(sem_wait(&semaphore));
  pthread_t other;
  start(&other, wait_for_semaphore);
  usleep(3000);
  SHOW(pthread_cancel(other));
  SHOW(pthread_join(other, nullptr));
  SHOW(sem_destroy(&semaphore));
  sem_t* missing = sem_open("/causeway-dept-no-such", 0);
  SHOW(missing == SEM_FAILED);
}

pthread_barrier_t barrier;
void* arrive(void* answers) {
  for (int i = 0; i < 3; ++i)
    __atomic_add_fetch(static_cast<int*>(answers), pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD, __ATOMIC_RELAXED);
  return nullptr;
}

int runs = 0;
void run() { ++runs; }

void barriers_and_once() {
  SHOW(pthread_barrier_init(&barrier, nullptr, 0));
  SHOW(pthread_barrier_init(&barrier, nullptr, 3));
  pthread_t others[2];
  int serial = 0;
  for (pthread_t& other : others) start(&other, arrive, &serial);
  arrive(&serial);
  for (pthread_t& other : others) pthread_join(other, nullptr);
  SHOW(serial);
  SHOW(pthread_barrier_destroy(&barrier));
  static pthread_once_t control = PTHREAD_ONCE_INIT;
  SHOW(pthread_once(&control, run));
  SHOW(pthread_once(&control, run));
  static once_flag flag = ONCE_FLAG_INIT;
  call_once(&flag, run);
  call_once(&flag, run);
  SHOW(runs);
}

mtx_t mtx;
cnd_t cnd;
int told = 0;
int tell(void* answer) {
  mtx_lock(&mtx);
  told = 1;
  cnd_signal(&cnd);
  mtx_unlock(&mtx);
  return static_cast<int>(reinterpret_cast<intptr_t>(answer));
}

void c11() {
  SHOW(mtx_init(&mtx, mtx_timed | mtx_recursive));
  SHOW(cnd_init(&cnd));
  SHOW(mtx_lock(&mtx));
  SHOW(mtx_trylock(&mtx));
  SHOW(mtx_unlock(&mtx));
  timespec soon = in_ms(CLOCK_REALTIME, 5);
  SHOW(cnd_timedwait(&cnd, &mtx, &soon));
  thrd_t other;
  SHOW(thrd_create(&other, tell, reinterpret_cast<void*>(42)));
  while (!told) cnd_wait(&cnd, &mtx);
  SHOW(mtx_unlock(&mtx));
  int answer = 0;
  SHOW(thrd_join(other, &answer));
  SHOW(answer);
  SHOW(cnd_broadcast(&cnd));
  cnd_destroy(&cnd);
  mtx_destroy(&mtx);
}

void system_calls() {
  int word = 1;
  SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, nullptr, nullptr, 0));
  timespec soon{0, 3000000};
  SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &soon, nullptr, 0));
  SHOW(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0));
  SHOW(syscall(SYS_futex, &word, 99, 1, nullptr, nullptr, 0));
  SHOW(syscall(SYS_futex, nullptr, FUTEX_WAIT, 1, nullptr, nullptr, 0));
  SHOW(syscall(449, nullptr, 0, 1, nullptr, 0));
  SHOW(syscall(SYS_getpid) == getpid());
  SHOW(syscall(100000));
  char buffer[8];
  int ends[2];
  pipe(ends);
  SHOW(syscall(SYS_pwrite64, ends[1], buffer, 1L, 0L));
  void* mapped = reinterpret_cast<void*>(syscall(SYS_mmap, nullptr, 4096L, 3L, 0x22L, -1L, 0L));
  SHOW(mapped != reinterpret_cast<void*>(-1));
  close(ends[0]);
  close(ends[1]);
}

void* write_later(void* fd) {
  usleep(3000);
  write(*static_cast<int*>(fd), "12345678", 8);
  return nullptr;
}

void files() {
  char bytes[16] = {};
  int ends[2], pair[2];
  SHOW(pipe2(ends, O_CLOEXEC));
  pthread_t other;
  start(&other, write_later, &ends[1]);
  SHOW(read(ends[0], bytes, sizeof bytes));
  pthread_join(other, nullptr);
  pollfd one{ends[0], POLLIN, 0};
  SHOW(poll(&one, 1, 2));
  start(&other, write_later, &ends[1]);
  SHOW(poll(&one, 1, -1));
  SHOW(read(ends[0], bytes, 3));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  timeval limit{1, 0};
  SHOW(select(ends[0] + 1, &set, nullptr, nullptr, &limit));
  SHOW(read(ends[0], bytes, 16));
  pthread_join(other, nullptr);
  SHOW(fcntl(ends[0], F_SETFL, O_NONBLOCK));
  SHOW(read(ends[0], bytes, 1));
  const int copy = dup(ends[1]);
  SHOW(copy >= 0);
  SHOW(dup2(copy, copy) == copy);
  SHOW(dup2(1000, copy));
  SHOW(close(ends[1]));
  SHOW(write(copy, "x", 1));
  SHOW(close(copy));
  SHOW(read(ends[0], bytes, 1));
  SHOW(read(ends[0], bytes, 1));
  SHOW(close(ends[0]));
  SHOW(close(ends[0]));
  SHOW(read(ends[0], bytes, 1));
  SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  SHOW(send(pair[0], "abc", 3, 0));
  SHOW(recv(pair[1], bytes, 16, 0));
  SHOW(recv(pair[1], bytes, 16, MSG_DONTWAIT));
  const int events = eventfd(3, 0);
  eventfd_t value = 0;
  SHOW(eventfd_read(events, &value));
  SHOW(value);
  SHOW(eventfd_write(events, 9));
  const int set_fd = epoll_create1(0);
  epoll_event event{EPOLLIN, {}};
  SHOW(epoll_ctl(set_fd, EPOLL_CTL_ADD, events, &event));
  SHOW(epoll_wait(set_fd, &event, 1, 100));
  SHOW(read(events, &value, 8));
  SHOW(epoll_wait(set_fd, &event, 1, 1));
  for (int fd : {pair[0], pair[1], events, set_fd}) close(fd);
}

void modules() {
  SHOW(dlopen("libno-such-thing.so", RTLD_NOW) == nullptr);
  void* itself = dlopen(nullptr, RTLD_NOW);
  SHOW(itself != nullptr);
  SHOW(dlsym(itself, "no_such_symbol") == nullptr);
  SHOW(dlsym(RTLD_DEFAULT, "getpid") == reinterpret_cast<void*>(getpid));
  SHOW(dlclose(itself));
  void* numbers = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
  SHOW(numbers != nullptr);
  auto* root = reinterpret_cast<double (*)(double)>(dlsym(numbers, "sqrt"));
  SHOW(root(81));
  SHOW(dlclose(numbers));
}

}  // namespace

int main() {
  conditions();
  semaphores();
  barriers_and_once();
  c11();
  system_calls();
  files();
  modules();
  return 0;
}
