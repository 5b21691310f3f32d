// What a streaming map costs behind an IOMMU, strict and deferred. A pair is a map and its unmap.
#include <benchmark/benchmark.h>

#include <vector>

#include "dma/iommu/testing/behind_iommu.h"

namespace causeway::dma::testing {
namespace {

using iommu::DomainType;

// Pages with gaps between them, so that nothing merges. Nobody touches them.
PhysAddr scattered(unsigned index) {
  return PhysAddr{MiB(8) + index * KiB(8)};
}

void pairs(benchmark::State& state, DomainType type) {
  log::set_level(log::Level::kError);
  BehindIommu setup({.type = type});
  Device device = setup.device();
  const auto size = static_cast<size_t>(state.range(0));
  PhysAddr buffer = page(setup.system, Order::covering(size).value());
  for (auto _ : state) {
    DmaAddr address = map_phys(device, buffer, size, Direction::kFromDevice, Attr::kNone);
    if (address == kMappingError) return state.SkipWithError("not mapped");
    unmap_phys(device, address, size, Direction::kFromDevice, Attr::kNone);
  }
}

void BM_MapStrict(benchmark::State& state) {
  pairs(state, DomainType::kDma);
}
BENCHMARK(BM_MapStrict)->Arg(KiB(4))->Arg(KiB(64))->Arg(MiB(2));

void BM_MapDeferred(benchmark::State& state) {
  pairs(state, DomainType::kDmaFq);
}
BENCHMARK(BM_MapDeferred)->Arg(KiB(4))->Arg(KiB(64))->Arg(MiB(2));

void lists(benchmark::State& state, DomainType type) {
  log::set_level(log::Level::kError);
  BehindIommu setup({.type = type});
  Device device = setup.device();
  std::vector<ScatterEntry> list;
  for (unsigned i = 0; i < 256; ++i) list.push_back({.phys = scattered(i), .length = 4096});
  for (auto _ : state) {
    if (map_sg(device, list, Direction::kToDevice) == 0) return state.SkipWithError("not mapped");
    unmap_sg(device, list, Direction::kToDevice);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * list.size()));
}

void BM_MapSgStrict(benchmark::State& state) {
  lists(state, DomainType::kDma);
}
BENCHMARK(BM_MapSgStrict);

void BM_MapSgDeferred(benchmark::State& state) {
  lists(state, DomainType::kDmaFq);
}
BENCHMARK(BM_MapSgDeferred);

// A request of so many pieces of a page. `segment` is the time of one: its link and its share of the rest.
void two_step(benchmark::State& state, DomainType type) {
  log::set_level(log::Level::kError);
  BehindIommu setup({.type = type});
  Device device = setup.device();
  const auto count = static_cast<unsigned>(state.range(0));
  const uint64_t total = count * KiB(4);
  for (auto _ : state) {
    IovaState request;
    if (!iova_try_alloc(device, request, scattered(0), total)) return state.SkipWithError("no bus addresses");
    for (unsigned i = 0; i < count; ++i)
      must(iova_link(device, request, scattered(i), i * KiB(4), KiB(4), Direction::kToDevice, Attr::kNone));
    must(iova_sync(device, request, 0, total));
    iova_destroy(device, request, total, Direction::kToDevice, Attr::kNone);
  }
  using Counter = benchmark::Counter;
  state.counters["segment"] = Counter(count, Counter::kIsIterationInvariantRate | Counter::kInvert);
}

void BM_LinkStrict(benchmark::State& state) {
  two_step(state, DomainType::kDma);
}
BENCHMARK(BM_LinkStrict)->Arg(1)->Arg(16)->Arg(256);

void BM_LinkDeferred(benchmark::State& state) {
  two_step(state, DomainType::kDmaFq);
}
BENCHMARK(BM_LinkDeferred)->Arg(1)->Arg(16)->Arg(256);

}  // namespace
}  // namespace causeway::dma::testing
