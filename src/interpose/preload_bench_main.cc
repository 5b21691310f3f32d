// What the library costs: the same operations with it and without, in turns. Of a single thread its processor time, the best that was
// seen, since what else runs on the machine only ever adds; of several threads the time that passed, the median.
//
//   preload_bench [--rounds N] [--json]
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

double now_ns(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// The mean of `count` runs of `operation`; of twenty such the best.
template <typename Operation>
double measure(long count, Operation&& operation) {
  double best = 1e18;
  for (int i = 0; i < 20; ++i) {
    const double begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
    for (long k = 0; k < count; ++k) operation();
    best = std::min(best, (now_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / static_cast<double>(count));
  }
  return best;
}

pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER, inner = PTHREAD_MUTEX_INITIALIZER;
pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
pthread_spinlock_t spin;
sem_t semaphore, signal_like;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
std::atomic<int> word{0};
int event_fd = -1;

// So many additions to what the lock protects, and to what is the thread's own, in turns; the median of some runs.
double contended(int threads, int inside, int outside) {
  constexpr long kEach = 40'000;
  static struct {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    volatile long work = 0;
  } shared;
  static std::atomic<int> ready;
  static int all_of_them, work_inside, work_outside;
  all_of_them = threads, work_inside = inside, work_outside = outside;
  auto body = [](void*) -> void* {
    volatile long own = 0;
    ready.fetch_add(1);
    while (ready.load() < all_of_them) sched_yield();
    for (long i = 0; i < kEach; ++i) {
      pthread_mutex_lock(&shared.lock);
      for (int k = 0; k < work_inside; ++k) shared.work = shared.work + 1;
      pthread_mutex_unlock(&shared.lock);
      for (int k = 0; k < work_outside; ++k) own = own + 1;
    }
    return nullptr;
  };
  std::vector<double> runs(21);
  for (double& run : runs) {
    ready = 0;
    const double begin = now_ns();
    std::vector<pthread_t> all(static_cast<size_t>(threads));
    for (pthread_t& thread : all) pthread_create(&thread, nullptr, body, nullptr);
    for (pthread_t thread : all) pthread_join(thread, nullptr);
    run = (now_ns() - begin) / static_cast<double>(kEach * threads);
  }
  std::sort(runs.begin(), runs.end());
  return runs[runs.size() / 2];
}

double create_and_join() {
  double best = 1e18;
  for (int i = 0; i < 5; ++i) {
    const double begin = now_ns();
    for (int k = 0; k < 200; ++k) {
      pthread_t thread;
      pthread_create(&thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
      pthread_join(thread, nullptr);
    }
    best = std::min(best, (now_ns() - begin) / 200);
  }
  return best;
}

// A process of one thread pays less for a plain lock: the C library needs no atomic instructions then.
void run_all() {
  pthread_t idle;
  pthread_create(&idle, nullptr, [](void*) -> void* { for (;;) pause(); }, nullptr);
  const auto print = [](const char* name, double ns) { printf("%s %f\n", name, ns); };
  constexpr long kCount = 200'000;
  print("mutex lock+unlock", measure(kCount, [] {
    pthread_mutex_lock(&outer);
    pthread_mutex_unlock(&outer);
  }));
  print("two mutexes, nested", measure(kCount, [] {
    pthread_mutex_lock(&outer);
    pthread_mutex_lock(&inner);
    pthread_mutex_unlock(&inner);
    pthread_mutex_unlock(&outer);
  }));
  print("mutex trylock+unlock", measure(kCount, [] {
    if (pthread_mutex_trylock(&outer) == 0) pthread_mutex_unlock(&outer);
  }));
  print("rwlock rdlock+unlock", measure(kCount, [] {
    pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
  }));
  print("rwlock wrlock+unlock", measure(kCount, [] {
    pthread_rwlock_wrlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
  }));
  pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
  print("spin lock+unlock", measure(kCount, [] {
    pthread_spin_lock(&spin);
    pthread_spin_unlock(&spin);
  }));
  sem_init(&semaphore, 0, 1);
  print("sem wait+post", measure(kCount, [] {
    sem_wait(&semaphore);
    sem_post(&semaphore);
  }));
  sem_init(&signal_like, 0, 0);
  print("sem post+wait, as signal", measure(kCount, [] {
    sem_post(&signal_like);
    sem_wait(&signal_like);
  }));
  print("cond signal", measure(kCount, [] { pthread_cond_signal(&cond); }));
  print("lock+cond signal+unlock", measure(kCount, [] {
    pthread_mutex_lock(&outer);
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&outer);
  }));
  print("futex wake", measure(kCount, [] { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }));
  event_fd = eventfd(0, EFD_SEMAPHORE);
  print("eventfd write+read", measure(kCount, [] {
    uint64_t value = 1;
    if (write(event_fd, &value, sizeof value) != sizeof value || read(event_fd, &value, sizeof value) != sizeof value) abort();
  }));
  print("malloc+free", measure(kCount, [] {
    void* volatile block = malloc(64);
    free(block);
  }));
  print("thread create+join", create_and_join());
  print("contended, 2 threads", contended(2, 100, 100));
  print("contended, 4 threads", contended(4, 100, 100));
  print("contended, 2, no work", contended(2, 0, 0));
  // With a handler of a signal that may come: what is locked is looked at in that light, once.
  signal(SIGUSR1, [](int) {});
  print("mutex, signals handled", measure(kCount, [] {
    pthread_mutex_lock(&outer);
    pthread_mutex_unlock(&outer);
  }));
}

using Results = std::map<std::string, std::vector<double>>;

void run_child(const char* self, bool library, const std::string& directory, Results& results, std::vector<std::string>& order) {
  std::vector<std::string> variables;
  for (char** at = environ; *at != nullptr; ++at) {
    if (strncmp(*at, "LD_PRELOAD=", 11) != 0 && strncmp(*at, "CAUSEWAY_DEPT_DIR=", 18) != 0) variables.push_back(*at);
  }
  if (library) {
    variables.push_back("LD_PRELOAD=" CW_DEPT_LIBRARY);
    variables.push_back("CAUSEWAY_DEPT_DIR=" + directory);
  }
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) return;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  char* arguments[] = {const_cast<char*>(self), const_cast<char*>("--measure"), nullptr};
  pid_t pid;
  const int failed = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, arguments, environment.data());
  close(ends[1]);
  if (failed == 0) {
    FILE* from = fdopen(ends[0], "r");
    char line[256];
    while (fgets(line, sizeof line, from) != nullptr) {
      char* space = strrchr(line, ' ');
      if (space == nullptr) continue;
      *space = '\0';
      if (results[line].empty() && std::find(order.begin(), order.end(), line) == order.end()) order.push_back(line);
      results[line].push_back(atof(space + 1));
    }
    fclose(from);
    waitpid(pid, nullptr, 0);
  }
  posix_spawn_file_actions_destroy(&actions);
}

// Of what takes turns with other threads there is no best.
double typical(const std::string& name, std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return name.starts_with("contended") ? values[values.size() / 2] : values.front();
}

}  // namespace

int main(int count, char** arguments) {
  int rounds = 5;
  bool json = false;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--measure") {
      run_all();
      return 0;
    }
    if (argument == "--json") json = true;
    else if (argument == "--rounds" && i + 1 < count) rounds = std::max(1, atoi(arguments[++i]));
    // What else is there is for the other benchmarks (`make bench`).
  }
  char directory[] = "/dev/shm/preload-bench-XXXXXX";
  if (mkdtemp(directory) == nullptr) return 1;
  Results plain, tracked;
  std::vector<std::string> order;
  for (int i = 0; i < rounds; ++i) {
    run_child(arguments[0], false, directory, plain, order);
    run_child(arguments[0], true, directory, tracked, order);
  }
  if (json) printf("[");
  else printf("%-24s %12s %12s %8s\n", "ns each", "plain", "tracked", "ratio");
  for (const std::string& name : order) {
    const double without = typical(name, plain[name]), with = typical(name, tracked[name]);
    if (json) {
      printf("%s\n  {\"name\": \"%s\", \"plain_ns\": %.2f, \"tracked_ns\": %.2f, \"ratio\": %.3f}", name == order.front() ? "" : ",",
             name.c_str(), without, with, with / without);
    } else {
      printf("%-24s %12.1f %12.1f %7.2fx\n", name.c_str(), without, with, with / without);
    }
  }
  if (json) printf("\n]\n");
  const std::string remove = std::string("rm -rf ") + directory;
  return system(remove.c_str()) == 0 ? 0 : 1;
}
