// What a program pays for /dev/liveupdate, through the shim: an unmodified program's view. Runs itself under
// `causeway run`, on a private machine.
//
//   BM_Ioctl/...             GET_NAME on a session; kernel thread spinning (calls back to back) on another or the same
//                            CPU, or asleep (a pause before each call, not counted)
//   BM_NativeIoctl           FIONREAD on a pipe: what an ioctl costs without anybody
//   BM_SocketPingPong        a byte to another process and back over a SOCK_SEQPACKET pair
//   BM_Files/N               create a session, preserve N memfds of one page, live update, retrieve, finish: per file
//   BM_Cycle                 complete preserve - kexec - retrieve - finish cycles of one session with one memfd
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "server/control.h"
#include "server/wire.h"
#include "uapi/abi/liveupdate.h"

namespace causeway {
namespace {

using Clock = std::chrono::steady_clock;
using namespace uapi::abi;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

int open_device() {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    int fd = ::open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
    if (fd >= 0) return fd;
    if (errno != ENODEV && errno != EBUSY) break;
    ::usleep(1000);
  }
  die("/dev/liveupdate");
}

int session_ioctl(int device, uint32_t command, const char* name) {
  SessionRequest request{sizeof request, -1, {}};
  std::strncpy(request.name, name, sizeof request.name - 1);
  if (::ioctl(device, command, &request) != 0) die("session");
  return request.fd;
}

int get_name(int session) {
  NameRequest request{sizeof request, 0, {}};
  return ::ioctl(session, kSessionGetName, &request);
}

// The kernel's process: it made the other end of the descriptor.
pid_t kernel_of(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
  return peer.pid;
}

void pin(pid_t process, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", ignored))
    ::sched_setaffinity(std::stoi(task.path().filename().string()), sizeof set, &set);
}
void unpin(pid_t process) {
  cpu_set_t all;
  std::memset(&all, 0xff, sizeof all);
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", ignored))
    ::sched_setaffinity(std::stoi(task.path().filename().string()), sizeof all, &all);
}

void report_median(benchmark::State& state, std::vector<double>& samples) {
  std::sort(samples.begin(), samples.end());
  if (samples.empty()) return;
  state.counters["median_ns"] = samples[samples.size() / 2] * 1e9;
  state.counters["p99_ns"] = samples[samples.size() * 99 / 100] * 1e9;
}

// Each call is timed by itself, because the median is what counts; the clock's own cost is in it.
template <typename Call>
void time_each(benchmark::State& state, Call call, unsigned pause_us = 0) {
  std::vector<double> samples;
  for (auto _ : state) {
    if (pause_us != 0) ::usleep(pause_us);
    auto start = Clock::now();
    call();
    double took = seconds_since(start);
    samples.push_back(took);
    state.SetIterationTime(took);
  }
  report_median(state, samples);
}

enum Placement : int { kOtherCpu, kSameCpu, kAnywhere };

void BM_Ioctl(benchmark::State& state) {
  auto placement = static_cast<Placement>(state.range(0));
  auto pause_us = static_cast<unsigned>(state.range(1));
  int device = open_device();
  int session = session_ioctl(device, kCreateSession, "bench");
  get_name(session);  // the channel is there before its threads are placed
  if (placement != kAnywhere) {
    pin(kernel_of(session), placement == kOtherCpu ? 1 : 0);
    pin(::getpid(), 0);
  }
  time_each(state, [&] { get_name(session); }, pause_us);
  unpin(kernel_of(session));
  unpin(::getpid());
  state.SetLabel(std::string(placement == kOtherCpu ? "other CPU" : placement == kSameCpu ? "same CPU" : "anywhere") +
                 (pause_us != 0 ? ", kernel asleep" : ", kernel spinning"));
  ::close(session);
  ::close(device);
}
BENCHMARK(BM_Ioctl)->Args({kOtherCpu, 0})->Args({kSameCpu, 0})->Args({kAnywhere, 0})->UseManualTime();
BENCHMARK(BM_Ioctl)->Args({kOtherCpu, 2000})->Args({kSameCpu, 2000})->UseManualTime()->Iterations(500);

void BM_NativeIoctl(benchmark::State& state) {
  int ends[2];
  if (::pipe(ends) != 0) die("pipe");
  int waiting;
  time_each(state, [&] { ::ioctl(ends[0], FIONREAD, &waiting); });
  ::close(ends[0]);
  ::close(ends[1]);
}
BENCHMARK(BM_NativeIoctl)->UseManualTime();

void BM_SocketPingPong(benchmark::State& state) {
  bool other = state.range(0) == kOtherCpu;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) die("socketpair");
  pid_t child = ::fork();
  char byte = 0;
  if (child == 0) {
    ::close(ends[0]);
    while (::read(ends[1], &byte, 1) == 1 && ::write(ends[1], &byte, 1) == 1) {
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  pin(child, other ? 1 : 0);
  pin(::getpid(), 0);
  time_each(state, [&] {
    if (::write(ends[0], &byte, 1) != 1 || ::read(ends[0], &byte, 1) != 1) die("ping-pong");
  });
  unpin(::getpid());
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  state.SetLabel(other ? "other CPU" : "same CPU");
}
BENCHMARK(BM_SocketPingPong)->Arg(kOtherCpu)->Arg(kSameCpu)->UseManualTime();

std::string control_socket() {
  std::string clients = std::getenv(wire::kSocketVariable);
  return clients.substr(0, clients.rfind('/') + 1) + "kernel";
}

// Returns when the next kernel answers.
void live_update() {
  static bool next = false;
  next = !next;
  std::string self = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  auto reply = server::ask(control_socket(), "kexec " + self + (next ? "/causeway-kernel-next" : "/causeway-kernel"));
  if (!reply || !reply->ok()) {
    std::fprintf(stderr, "kexec: %s\n", reply ? reply->text("reason").c_str() : "no answer");
    std::exit(1);
  }
}

int one_page_memfd() {
  int fd = static_cast<int>(::memfd_create("bench", MFD_CLOEXEC));
  if (fd < 0 || ::ftruncate(fd, 4096) != 0 || ::pwrite(fd, "causeway", 8, 0) != 8) die("memfd");
  return fd;
}

void preserve(int session, int fd, uint64_t token) {
  FdRequest request{sizeof request, fd, token};
  if (::ioctl(session, kSessionPreserveFd, &request) != 0) die("PRESERVE_FD");
}
int retrieve(int session, uint64_t token) {
  FdRequest request{sizeof request, -1, token};
  if (::ioctl(session, kSessionRetrieveFd, &request) != 0) die("RETRIEVE_FD");
  return request.fd;
}
void finish(int session) {
  FinishRequest request{sizeof request, 0};
  if (::ioctl(session, kSessionFinish, &request) != 0) die("FINISH");
}

void BM_Files(benchmark::State& state) {
  auto files = static_cast<uint64_t>(state.range(0));
  double preserved = 0, updated = 0, retrieved = 0, finished = 0;
  for (auto _ : state) {
    std::vector<int> fds;
    for (uint64_t i = 0; i < files; ++i) fds.push_back(one_page_memfd());
    int device = open_device();
    int session = session_ioctl(device, kCreateSession, "files");
    auto start = Clock::now();
    for (uint64_t i = 0; i < files; ++i) preserve(session, fds[i], i);
    preserved += seconds_since(start);
    for (int fd : fds) ::close(fd);

    start = Clock::now();
    live_update();
    ::close(session);
    ::close(device);
    device = open_device();
    updated += seconds_since(start);

    session = session_ioctl(device, kRetrieveSession, "files");
    start = Clock::now();
    for (uint64_t i = 0; i < files; ++i) fds[i] = retrieve(session, i);
    retrieved += seconds_since(start);
    start = Clock::now();
    finish(session);
    finished += seconds_since(start);
    for (int fd : fds) ::close(fd);
    ::close(session);
    ::close(device);
  }
  double count = static_cast<double>(files) * static_cast<double>(state.iterations());
  state.counters["preserve_us"] = preserved / count * 1e6;
  state.counters["retrieve_us"] = retrieved / count * 1e6;
  state.counters["finish_us"] = finished / count * 1e6;
  state.counters["update_ms"] = updated / static_cast<double>(state.iterations()) * 1e3;
}
BENCHMARK(BM_Files)->Arg(10)->Arg(1000)->Arg(5000)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(3);

void BM_Cycle(benchmark::State& state) {
  for (auto _ : state) {
    int memfd = one_page_memfd();
    int device = open_device();
    int session = session_ioctl(device, kCreateSession, "cycle");
    preserve(session, memfd, 1);
    live_update();
    for (int fd : {memfd, session, device}) ::close(fd);

    device = open_device();
    session = session_ioctl(device, kRetrieveSession, "cycle");
    memfd = retrieve(session, 1);
    char contents[8];
    if (::pread(memfd, contents, sizeof contents, 0) != 8 || std::memcmp(contents, "causeway", 8) != 0) die("contents");
    finish(session);
    for (int fd : {memfd, session, device}) ::close(fd);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Cycle)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace causeway

int main(int argc, char** argv) {
  if (std::getenv(causeway::wire::kSocketVariable) == nullptr) {
    std::string self = std::filesystem::read_symlink("/proc/self/exe");
    std::string run = std::filesystem::path(self).parent_path() / "causeway";
    std::vector<char*> words{run.data(), const_cast<char*>("run"), const_cast<char*>("--"), self.data()};
    words.insert(words.end(), argv + 1, argv + argc);
    words.push_back(nullptr);
    ::execv(run.c_str(), words.data());
    causeway::die(run.c_str());
  }
  rlimit files;
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
