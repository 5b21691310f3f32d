// What a stack costs, by depth: ours warm, ours when every place is new, libc's backtrace() and libgcc's
// _Unwind_Backtrace(), from the same frames.
#include "dept/unwind.h"

#include <benchmark/benchmark.h>
#include <execinfo.h>
#include <unwind.h>

#include "dept/cfi.h"

namespace causeway::dept {
namespace {

constexpr unsigned kMost = 64;

struct Walk {
  unsigned max;
  unsigned count;
};

_Unwind_Reason_Code count_frame(_Unwind_Context* context, void* argument) {
  Walk& walk = *static_cast<Walk*>(argument);
  benchmark::DoNotOptimize(_Unwind_GetIP(context));
  return ++walk.count == walk.max ? _URC_END_OF_STACK : _URC_NO_REASON;
}

// `depth` frames below, then the measurement.
template <typename Measure>
[[gnu::noinline]] int descend(benchmark::State& state, int depth, Measure measure) {
  int below = 0;
  if (depth == 0) {
    for (auto _ : state) measure();
  } else {
    below = descend(state, depth - 1, measure);
  }
  benchmark::DoNotOptimize(below);
  return below + depth;
}

void warm(benchmark::State& state) {
  const auto frames = static_cast<unsigned>(state.range(0));
  descend(state, 40, [frames] {
    Frame found[kMost];
    benchmark::DoNotOptimize(unwind(found, frames, 0));
    benchmark::ClobberMemory();
  });
}
BENCHMARK(warm)->Arg(4)->Arg(8)->Arg(16)->Arg(32);

void first_time(benchmark::State& state) {
  descend(state, 40, [] {
    unwind_modules_changed();
    Frame found[kMost];
    benchmark::DoNotOptimize(unwind(found, 16, 0));
    benchmark::ClobberMemory();
  });
}
BENCHMARK(first_time);

void libc_backtrace(benchmark::State& state) {
  const int frames = static_cast<int>(state.range(0));
  descend(state, 40, [frames] {
    void* found[kMost];
    benchmark::DoNotOptimize(backtrace(found, frames));
    benchmark::ClobberMemory();
  });
}
BENCHMARK(libc_backtrace)->Arg(16);

void libgcc_backtrace(benchmark::State& state) {
  const auto frames = static_cast<unsigned>(state.range(0));
  descend(state, 40, [frames] {
    Walk walk{frames, 0};
    _Unwind_Backtrace(count_frame, &walk);
    benchmark::DoNotOptimize(walk);
  });
}
BENCHMARK(libgcc_backtrace)->Arg(16);

void one_rule(benchmark::State& state) {
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) - 1;
  for (auto _ : state) benchmark::DoNotOptimize(find_rule(pc));
}
BENCHMARK(one_rule);

}  // namespace
}  // namespace causeway::dept
