// What bouncing costs beyond the two copies it is about.
#include <benchmark/benchmark.h>

#include <cstring>

#include "base/log.h"
#include "dma/swiotlb/testing/bounce_box.h"

namespace causeway::dma::testing {
namespace {

std::unique_ptr<BounceBox> box;

// Every thread has a lane of the data, and in the copies' case one of the pool.
void setup(const benchmark::State&) {
  log::set_level(log::Level::kError);
  box = std::make_unique<BounceBox>(Swiotlb::Options{.size = MiB(1), .areas = 2});
  std::memset(box->at(box->data()), 1, BounceBox::kData);
  std::memset(box->at(box->base()), 1, MiB(1));
}
void teardown(const benchmark::State&) {
  box.reset();
}

void BM_BounceMapUnmap(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  Device device = box->device();
  PhysAddr orig = box->data(static_cast<uint64_t>(state.thread_index()) * KiB(128));
  for (auto _ : state) {
    PhysAddr bounce = must(box->map(device, orig, size));
    benchmark::DoNotOptimize(bounce);
    box->unmap(device, bounce, size);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * 2 * state.range(0));
}
BENCHMARK(BM_BounceMapUnmap)->Arg(4096)->Arg(65536)->Threads(1)->Threads(2)->UseRealTime()->Setup(setup)->Teardown(
    teardown);

void BM_TwoCopies(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  std::byte* orig = box->at(box->data(static_cast<uint64_t>(state.thread_index()) * KiB(128)));
  std::byte* bounce = box->at(box->base() + static_cast<uint64_t>(state.thread_index()) * KiB(512));
  for (auto _ : state) {
    std::memcpy(bounce, orig, size);
    benchmark::ClobberMemory();
    std::memcpy(orig, bounce, size);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * 2 * state.range(0));
}
BENCHMARK(BM_TwoCopies)->Arg(4096)->Arg(65536)->Threads(1)->Threads(2)->UseRealTime()->Setup(setup)->Teardown(
    teardown);

// Asked on every unmap of the direct path.
void BM_Contains(benchmark::State& state) {
  Device device = box->device();
  PhysAddr elsewhere = box->data();
  for (auto _ : state) {
    benchmark::DoNotOptimize(elsewhere);
    benchmark::DoNotOptimize(box->pool->contains(device, elsewhere));
  }
}
BENCHMARK(BM_Contains)->Setup(setup)->Teardown(teardown);

// 64 MiB, none of which is touched.
void BM_Create(benchmark::State& state) {
  log::set_level(log::Level::kError);
  for (auto _ : state) {
    state.PauseTiming();
    {
      System system({.dma = {.swiotlb_size = 0}}, MiB(256));
      PageAttributes attributes;
      state.ResumeTiming();
      auto pool = must(Swiotlb::create(system.pages(), attributes, {.size = MiB(64)}));
      benchmark::DoNotOptimize(pool);
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
}
BENCHMARK(BM_Create)->Unit(benchmark::kMicrosecond)->Iterations(20);

}  // namespace
}  // namespace causeway::dma::testing
