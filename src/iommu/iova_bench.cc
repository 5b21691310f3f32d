// What a range of bus addresses costs: from the magazines, through the depots, and from the tree.
#include <benchmark/benchmark.h>

#include <vector>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/iova.h"

namespace causeway::iommu {
namespace {

constexpr uint64_t kLimit = 0xfffff;  // below 4 GiB
constexpr IovaDomain::Flush kFlush = IovaDomain::Flush::kYes;

// Shared by the threads of a benchmark.
IovaDomain& iovas() {
  log::set_level(log::Level::kError);
  static IovaDomain instance({});
  return instance;
}

void BM_Magazine(benchmark::State& state) {
  IovaDomain& domain = iovas();
  const auto length = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    Result<uint64_t> pfn = domain.alloc_fast(length, kLimit, kFlush);
    if (!pfn) return state.SkipWithError("no addresses");
    domain.free_fast(*pfn, length);
  }
}
BENCHMARK(BM_Magazine)->Arg(1)->Arg(32);
BENCHMARK(BM_Magazine)->Arg(1)->Threads(2)->UseRealTime();

// More than a CPU's two magazines hold, so that whole magazines go to the depot and come back. Time per
// range: an item.
void BM_Depot(benchmark::State& state) {
  IovaDomain& domain = iovas();
  std::vector<uint64_t> pfns(1000);
  for (auto _ : state) {
    for (uint64_t& pfn : pfns) pfn = must(domain.alloc_fast(1, kLimit, kFlush));
    for (uint64_t pfn : pfns) domain.free_fast(pfn, 1);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * pfns.size()));
}
BENCHMARK(BM_Depot)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Depot)->Unit(benchmark::kMicrosecond)->Threads(2)->UseRealTime();

// A length that no magazine keeps. Argument: ranges that are handed out meanwhile.
void BM_Tree(benchmark::State& state) {
  IovaDomain domain({});
  for (int64_t i = 0; i < state.range(0); ++i) must(domain.alloc(1, kLimit));
  for (auto _ : state) {
    uint64_t pfn = must(domain.alloc_fast(64, kLimit, kFlush));
    domain.free_fast(pfn, 64);
  }
}
BENCHMARK(BM_Tree)->Arg(0)->Arg(1000)->Arg(100'000);

void BM_TreeShared(benchmark::State& state) {
  IovaDomain& domain = iovas();
  for (auto _ : state) domain.free_fast(must(domain.alloc_fast(64, kLimit, kFlush)), 64);
}
BENCHMARK(BM_TreeShared)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace causeway::iommu
