// Blackout of a live update between two kernel processes: the last record consumed by the old
// generation to the first one consumed by the new, over execve() of another binary.
//
//   BM_BlackoutByAllocations/N   N preserved DMA allocations beside the stream's own; 1 GiB of RAM
//   BM_BlackoutByRam/MiB         1,000 preserved allocations; RAM from 256 MiB to 1 TiB, sparse
//
// `Time` is the blackout itself (manual time); `boot_us` the new kernel's boot until its drivers run.
#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "server/control.h"

namespace causeway::server {
namespace {

std::string sibling(const char* program) {
  char path[PATH_MAX];
  ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  std::string self(path, length > 0 ? static_cast<size_t>(length) : 0);
  return self.substr(0, self.rfind('/') + 1) + program;
}

// A child process that ends with this one; returns once it has said "ready".
class Child {
 public:
  explicit Child(std::vector<std::string> words) {
    int out[2];
    if (::pipe(out) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(out[1], STDOUT_FILENO);
      ::close(out[0]);
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(out[1]);
    char byte;
    ready_ = ::read(out[0], &byte, 1) == 1;
    out_ = UniqueFd(out[0]);
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  bool ready() const { return ready_; }

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
  UniqueFd out_;
};

// The value of the status line that ends with `suffix`: the stream's, whatever the device's address.
uint64_t stream_number(const Reply& status, std::string_view suffix) {
  for (const auto& [name, value] : status.lines)
    if (name.starts_with("dma.") && name.ends_with(suffix)) return std::stoull(value);
  return 0;
}

// Polls until this generation has consumed something. An empty reply: it never did.
Reply wait_for_work(const std::string& control, uint64_t generation) {
  for (int i = 0; i < 5000; ++i) {
    Result<Reply> status = ask(control, "status");
    if (status && status->number("generation") == generation && stream_number(*status, ".first_work_ns") != 0)
      return *status;
    ::usleep(1000);
  }
  return {};
}

void live_updates(benchmark::State& state, uint64_t ram_mib, uint64_t allocations) {
  std::string name = fmt::format("causeway-bench-{}", ::getpid());
  std::string control = name + "-kernel";
  Child machine({sibling("causeway-machine"), "--listen", name, "--ram", fmt::format("{}M", ram_mib)});
  Child kernel({sibling("causeway-kernel"), "--machine", name, "--control", control, "--log-level", "warning",
                "--cmdline", fmt::format("ballast={} memory_pressure=0 dma_engine.ring=256 dma_engine.overrun=hold", allocations)});
  if (!machine.ready() || !kernel.ready()) return state.SkipWithError("cannot start a machine and a kernel");

  uint64_t generation = 1;
  uint64_t boot_ns = 0, restored = 0, during = 0;
  wait_for_work(control, generation);
  for (auto _ : state) {
    const char* target = generation % 2 == 1 ? "causeway-kernel-next" : "causeway-kernel";
    Result<Reply> jumped = ask(control, "kexec " + sibling(target));
    if (!jumped || !jumped->ok()) return state.SkipWithError("the live update was refused");
    Reply status = wait_for_work(control, ++generation);
    if (!status.ok() || stream_number(status, ".lost") != 0) return state.SkipWithError("the stream was lost");
    state.SetIterationTime(static_cast<double>(stream_number(status, ".blackout_ns")) * 1e-9);
    boot_ns += status.number("boot_ns");
    restored = status.number("dma.restored");
    during += stream_number(status, ".completed_during");
  }
  auto updates = static_cast<double>(generation - 1);
  state.counters["boot_us"] = static_cast<double>(boot_ns) / 1000 / updates;
  state.counters["restored"] = static_cast<double>(restored);
  state.counters["dma_during"] = static_cast<double>(during) / updates;
}

void BM_BlackoutByAllocations(benchmark::State& state) {
  live_updates(state, 1024, static_cast<uint64_t>(state.range(0)));
}
BENCHMARK(BM_BlackoutByAllocations)
    ->RangeMultiplier(10)->Range(10, 100'000)->Iterations(10)->UseManualTime()->Unit(benchmark::kMillisecond);

void BM_BlackoutByRam(benchmark::State& state) {
  live_updates(state, static_cast<uint64_t>(state.range(0)), 1000);
}
BENCHMARK(BM_BlackoutByRam)
    ->RangeMultiplier(8)->Range(256, 1 << 20)->Iterations(10)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace causeway::server
