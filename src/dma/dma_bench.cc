// What an allocation costs, and what its preservation adds.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

constexpr unsigned kBatch = 10000;

void quiet() {
  log::set_level(log::Level::kError);
}

std::vector<Coherent> allocate(Device& device, uint64_t size, unsigned count) {
  std::vector<Coherent> blocks;
  for (unsigned i = 0; i < count; ++i) blocks.push_back(must(alloc_coherent(device, size, kSleep)));
  return blocks;
}

void BM_AllocFree(benchmark::State& state) {
  quiet();
  System system;
  Device device = system.device();
  const auto size = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    Coherent memory = must(alloc_coherent(device, size, kSleep));
    benchmark::DoNotOptimize(memory.cpu);
    must(free_coherent(device, memory));
  }
}
BENCHMARK(BM_AllocFree)->Arg(4096)->Arg(20480);

void BM_AllocFreeRemapped(benchmark::State& state) {
  quiet();
  System system;
  Device device = system.device({.coherent = false});
  for (auto _ : state) {
    Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
    must(free_coherent(device, memory));
  }
}
BENCHMARK(BM_AllocFreeRemapped);

// One iteration is 10,000 allocations of 4 KiB; items are allocations.
void BM_Preserve(benchmark::State& state) {
  quiet();
  System system({}, MiB(256));
  Device device = system.device();
  std::vector<Coherent> blocks = allocate(device, KiB(4), kBatch);
  std::vector<Token> tokens(kBatch);
  for (auto _ : state) {
    for (unsigned i = 0; i < kBatch; ++i)
      tokens[i] = must(preserve_allocation(device, blocks[i], Attr::kNone));
    state.PauseTiming();
    for (Token token : tokens) must(unpreserve_allocation(device, token));
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kBatch);
}
BENCHMARK(BM_Preserve)->Unit(benchmark::kMicrosecond);

void BM_Unpreserve(benchmark::State& state) {
  quiet();
  System system({}, MiB(256));
  Device device = system.device();
  std::vector<Coherent> blocks = allocate(device, KiB(4), kBatch);
  std::vector<Token> tokens(kBatch);
  for (auto _ : state) {
    state.PauseTiming();
    for (unsigned i = 0; i < kBatch; ++i)
      tokens[i] = must(preserve_allocation(device, blocks[i], Attr::kNone));
    state.ResumeTiming();
    for (Token token : tokens) must(unpreserve_allocation(device, token));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kBatch);
}
BENCHMARK(BM_Unpreserve)->Unit(benchmark::kMicrosecond);

void BM_Restore(benchmark::State& state) {
  quiet();
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<Token> tokens;
    {
      System system({}, MiB(256));
      Device before = system.device();
      for (const Coherent& block : allocate(before, KiB(4), kBatch))
        tokens.push_back(must(preserve_allocation(before, block, Attr::kNone)));
      system.kexec();
      Device device = system.device();
      state.ResumeTiming();
      for (Token token : tokens) must(restore_allocation(device, KiB(4), kSleep, Attr::kNone, token));
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kBatch);
}
BENCHMARK(BM_Restore)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace causeway::dma::testing
