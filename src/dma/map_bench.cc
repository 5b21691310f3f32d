// What a streaming map costs, by path. A pair is a map and its unmap.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <vector>

#include "dma/map.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

using Clock = std::chrono::steady_clock;

void quiet() {
  log::set_level(log::Level::kError);
}

void pairs(benchmark::State& state, const Config& config, DeviceTraits traits) {
  quiet();
  System system(with(config));
  Device device = system.device(traits);
  const auto size = static_cast<size_t>(state.range(0));
  PhysAddr buffer = page(system, Order::covering(size).value());
  for (auto _ : state) {
    DmaAddr address = map_phys(device, buffer, size, Direction::kFromDevice, Attr::kNone);
    benchmark::DoNotOptimize(address);
    // dma-debug counts a mapping nobody asked about as a mistake.
    if (config.debug) (void)mapping_error(device, address);
    unmap_phys(device, address, size, Direction::kFromDevice, Attr::kNone);
  }
}

void BM_MapDirect(benchmark::State& state) {
  pairs(state, {}, {});
}
BENCHMARK(BM_MapDirect)->Arg(KiB(4))->Arg(KiB(64))->Arg(MiB(2));

void BM_MapDirectIncoherent(benchmark::State& state) {
  pairs(state, {}, {.coherent = false});
}
BENCHMARK(BM_MapDirectIncoherent)->Arg(KiB(4));

void BM_MapDirectWithDebug(benchmark::State& state) {
  pairs(state, {.debug = true}, {});
}
BENCHMARK(BM_MapDirectWithDebug)->Arg(KiB(4));

void BM_SyncSkipped(benchmark::State& state) {
  quiet();
  System system;
  Device device = system.device();
  for (auto _ : state) sync_single_for_cpu(device, DmaAddr{MiB(8)}, KiB(4), Direction::kFromDevice);
}
BENCHMARK(BM_SyncSkipped);

void BM_MapSg(benchmark::State& state) {
  quiet();
  System system;
  Device device = system.device();
  std::vector<ScatterEntry> list;
  for (unsigned i = 0; i < 256; ++i) list.push_back({.phys = PhysAddr{MiB(8) + i * KiB(8)}, .length = 4096});
  for (auto _ : state) {
    benchmark::DoNotOptimize(map_sg(device, list, Direction::kToDevice));
    unmap_sg(device, list, Direction::kToDevice);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * list.size()));
}
BENCHMARK(BM_MapSg);

// A forced bounce copies in and out: `memcpys` is what two copies of the same size cost alone, `ratio` the pair to them.
void BM_MapBounced(benchmark::State& state) {
  quiet();
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  const auto size = static_cast<size_t>(state.range(0));
  PhysAddr buffer = page(system, Order::covering(size).value());
  PhysAddr other = page(system, Order::covering(size).value());
  std::memset(system.at(buffer), 1, size);
  std::memset(system.at(other), 2, size);
  double bounced = 0, copied = 0;
  uint64_t rounds = 0;
  constexpr unsigned kBatch = 64;
  for (auto _ : state) {
    Clock::time_point start = Clock::now();
    for (unsigned i = 0; i < kBatch; ++i) {
      DmaAddr address = map_phys(device, buffer, size, Direction::kFromDevice, Attr::kNone);
      benchmark::DoNotOptimize(address);
      unmap_phys(device, address, size, Direction::kFromDevice, Attr::kNone);
    }
    Clock::time_point middle = Clock::now();
    for (unsigned i = 0; i < kBatch; ++i) {
      std::memcpy(system.at(other), system.at(buffer), size);
      benchmark::ClobberMemory();
      std::memcpy(system.at(buffer), system.at(other), size);
      benchmark::ClobberMemory();
    }
    Clock::time_point end = Clock::now();
    bounced += std::chrono::duration<double>(middle - start).count();
    copied += std::chrono::duration<double>(end - middle).count();
    state.SetIterationTime(std::chrono::duration<double>(middle - start).count());
    rounds += kBatch;
  }
  state.counters["pair_ns"] = bounced / static_cast<double>(rounds) * 1e9;
  state.counters["memcpys_ns"] = copied / static_cast<double>(rounds) * 1e9;
  state.counters["ratio"] = bounced / copied;
}
BENCHMARK(BM_MapBounced)->UseManualTime()->Arg(KiB(4))->Arg(KiB(64));

}  // namespace
}  // namespace causeway::dma::testing
