// Page tables: what a map and an unmap cost, in the shape of the kernel's published tables. `kernel` and `kernel_min` are
// the kernel's own average and minimum for the same call, with its generic page tables on an i7-12700; beside them our
// median and minimum of rounds of calls. Memory is sparse: a table page exists where something is mapped.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;
constexpr unsigned kRounds = 256;  // ranges between two pauses of the clock

enum class Format : int64_t { kAmdv1, kX86_64, kVtdss };

struct Bench {
  explicit Bench(Format format, uint64_t sizes = ~uint64_t{0})
      : machine(), generation((log::set_level(log::Level::kError), machine)) {
    switch (format) {
      case Format::kAmdv1:
        table = must(make_amdv1({.pages = pages, .max_vasz_lg2 = 57, .features = kDynamicTop, .starting_level = 3}));
        break;
      case Format::kX86_64: table = must(make_x86_64({.pages = pages, .max_vasz_lg2 = 48})); break;
      case Format::kVtdss: table = must(make_vtdss({.pages = pages, .max_vasz_lg2 = 48, .page_sizes = sizes})); break;
    }
  }
  uint64_t map(uint64_t iova, uint64_t phys, uint64_t size) {
    uint64_t mapped = 0;
    Status status = table->map(Iova{iova}, PhysAddr{phys}, size, kAll, &mapped);
    benchmark::DoNotOptimize(status.has_value());
    return mapped;
  }
  uint64_t unmap(uint64_t iova, uint64_t size) {
    Gather gather;
    const uint64_t done = table->unmap(Iova{iova}, size, gather);
    if (!gather.freed.empty()) pages.free(gather.freed);
    return done;
  }
  kho::TestMachine machine;
  kho::Generation generation;
  IommuPages pages{*generation.allocator, generation.kho.get()};
  std::unique_ptr<IoPageTable> table;
};

// Nanoseconds of a call; 0: not published.
struct Published {
  unsigned average, minimum;
};
struct Row {
  Format format;
  unsigned lg2, count;
  Published map, unmap;
};
constexpr Row kRows[] = {
    {Format::kAmdv1, 12, 1, {53, 51}, {69, 65}},
    {Format::kAmdv1, 13, 1, {70, 67}, {79, 75}},
    {Format::kAmdv1, 14, 1, {73, 71}, {78, 74}},
    {Format::kAmdv1, 15, 1, {78, 75}, {82, 74}},
    {Format::kAmdv1, 16, 1, {89, 86}, {79, 74}},
    {Format::kAmdv1, 17, 1, {128, 124}, {81, 77}},
    {Format::kAmdv1, 18, 1, {175, 170}, {90, 87}},
    {Format::kAmdv1, 19, 1, {264, 261}, {91, 88}},
    {Format::kAmdv1, 20, 1, {444, 438}, {96, 91}},
    {Format::kAmdv1, 21, 1, {60, 58}, {72, 68}},
    {Format::kAmdv1, 30, 1, {0, 0}, {0, 0}},
    {Format::kAmdv1, 12, 256, {386, 367}, {353, 331}},
    {Format::kAmdv1, 21, 256, {362, 355}, {373, 360}},
    {Format::kAmdv1, 30, 256, {356, 349}, {396, 389}},
    {Format::kX86_64, 12, 1, {56, 52}, {71, 66}},
    {Format::kX86_64, 21, 1, {66, 61}, {76, 70}},
    {Format::kX86_64, 30, 1, {59, 56}, {69, 66}},
    {Format::kX86_64, 12, 256, {405, 357}, {228, 206}},
    {Format::kX86_64, 21, 256, {393, 358}, {254, 245}},
    {Format::kX86_64, 30, 256, {378, 331}, {251, 244}},
    {Format::kVtdss, 12, 1, {55, 53}, {69, 65}},
    {Format::kVtdss, 21, 1, {0, 0}, {0, 0}},
    {Format::kVtdss, 30, 1, {0, 0}, {0, 0}},
    {Format::kVtdss, 12, 256, {391, 332}, {210, 200}},
    {Format::kVtdss, 21, 256, {383, 336}, {255, 238}},
    {Format::kVtdss, 30, 256, {0, 0}, {0, 0}},
};

// Ranges whose tables are there, as in the kernel's benchmark; address and physical address are never aligned to more
// than one page of the size together, so that a run is a run.
void BM_Pt(benchmark::State& state, bool unmaps) {
  const Row& row = kRows[state.range(0)];
  Bench bench(row.format);
  const uint64_t page = uint64_t{1} << row.lg2, size = page * row.count;
  // Neighbours far enough to let no table be covered as a whole, and near enough to fit.
  const uint64_t rounds = row.count == 1 && row.lg2 != 30 ? kRounds : kRounds / 4;
  const uint64_t phys = page * 2;
  auto range = [&](uint64_t i) { return size * i * 2 + page; };
  std::vector<double> calls;  // of each round, seconds of one
  auto timed = [&](auto&& call) {
    const auto begin = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < rounds; ++i) benchmark::DoNotOptimize(call(i));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    calls.push_back(took.count() / static_cast<double>(rounds));
  };
  auto check = [&](uint64_t done) {
    if (done != size) state.SkipWithError("not the whole range");
  };
  // The first makes the tables.
  for (uint64_t i = 0; i < rounds; ++i) check(bench.map(range(i), phys, size));
  for (uint64_t i = 0; i < rounds; ++i) check(bench.unmap(range(i), size));
  for (auto _ : state) {
    if (unmaps) {
      for (uint64_t i = 0; i < rounds; ++i) check(bench.map(range(i), phys, size));
      timed([&](uint64_t i) { return bench.unmap(range(i), size); });
    } else {
      timed([&](uint64_t i) { return bench.map(range(i), phys, size); });
      for (uint64_t i = 0; i < rounds; ++i) check(bench.unmap(range(i), size));
    }
    state.SetIterationTime(calls.back());
  }
  if (calls.empty()) return;
  const auto middle = calls.begin() + static_cast<std::ptrdiff_t>(calls.size() / 2);
  std::nth_element(calls.begin(), middle, calls.end());
  state.counters["median"] = *middle;
  state.counters["min"] = *std::min_element(calls.begin(), calls.end());
  if (row.count != 1) state.counters["page"] = *middle / row.count;
  const Published& kernel = unmaps ? row.unmap : row.map;
  if (kernel.average != 0) {
    state.counters["kernel"] = kernel.average * 1e-9;
    state.counters["kernel_min"] = kernel.minimum * 1e-9;
  }
  state.SetLabel(fmt::format("{} {} {}2^{}", bench.table->format(), unmaps ? "unmap" : "map",
                             row.count == 1 ? "" : fmt::format("{}*", row.count), row.lg2));
}
BENCHMARK_CAPTURE(BM_Pt, map, false)->DenseRange(0, std::size(kRows) - 1)->UseManualTime()->Iterations(1000);
BENCHMARK_CAPTURE(BM_Pt, unmap, true)->DenseRange(0, std::size(kRows) - 1)->UseManualTime()->Iterations(1000);

void BM_IovaToPhys(benchmark::State& state) {
  Bench bench(Format::kVtdss);
  (void)bench.map(0, KiB(4), MiB(64));
  uint64_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(bench.table->iova_to_phys(Iova{at}));
    at = (at + KiB(4) * 7) & (MiB(64) - 1);
  }
  state.SetLabel("vtdss, 4 KiB pages, 64 MiB");
}
BENCHMARK(BM_IovaToPhys);

// Every hundredth page is dirty. 64 GiB of 4 KiB pages would take 128 MiB of tables, so that they are 1 GiB.
void BM_DirtyScan(benchmark::State& state) {
  const bool large = state.range(0) == 21;
  Bench bench(Format::kVtdss, large ? KiB(4) | MiB(2) : KiB(4));
  const uint64_t span = large ? GiB(64) : GiB(1);
  const uint64_t page = uint64_t{1} << state.range(0);
  if (bench.map(0, 0, span) != span) return state.SkipWithError("not mapped");
  for (uint64_t at = 0; at < span; at += 100 * page) must(bench.table->set_dirty(Iova{at}));
  struct Count final : DirtyBitmap {
    void record(Iova, uint64_t) override { ++pages; }
    uint64_t pages = 0;
  } found;
  Gather gather;
  for (auto _ : state)
    must(bench.table->read_and_clear_dirty(Iova{0}, span, DirtyClear::kNo, &found, gather));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * (span / page)));
  state.SetLabel(large ? "vtdss, 64 GiB of 2 MiB pages, 1 % dirty" : "vtdss, 1 GiB of 4 KiB pages, 1 % dirty");
}
BENCHMARK(BM_DirtyScan)->Arg(21)->Arg(12)->Unit(benchmark::kMicrosecond);

// 1 TiB of 2 MiB pages: 1024 tables and some. `restore` is the next kernel's part.
void BM_LiveUpdate(benchmark::State& state) {
  log::set_level(log::Level::kError);
  for (auto _ : state) {
    state.PauseTiming();
    static auto& ended = *new std::vector<std::unique_ptr<IoPageTable>>;
    kho::TestMachine machine;
    IoPageTable::Preserved preserved;
    {
      kho::Generation old(machine);
      IommuPages pages(*old.allocator, old.kho.get());
      auto table = must(make_vtdss({.pages = pages, .page_sizes = KiB(4) | MiB(2)}));
      uint64_t mapped = 0;
      must(table->map(Iova{0}, PhysAddr{0}, GiB(1024), kAll, &mapped));
      if (state.range(0) == 0) state.ResumeTiming();
      preserved = must(table->preserve());
      if (state.range(0) == 0) state.PauseTiming();
      old.commit();
      ended.push_back(std::move(table));
    }
    kho::Generation next(machine);
    IommuPages pages(*next.allocator, next.kho.get());
    auto table = must(make_vtdss({.pages = pages, .page_sizes = KiB(4) | MiB(2)}));
    if (state.range(0) == 1) state.ResumeTiming();
    must(table->restore(preserved));
    if (state.range(0) == 1) state.PauseTiming();
    table.reset();
    state.ResumeTiming();
  }
  state.SetLabel(state.range(0) == 0 ? "vtdss, preserve 1 TiB of 2 MiB pages" : "vtdss, restore 1 TiB of 2 MiB pages");
}
BENCHMARK(BM_LiveUpdate)->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond)->Iterations(5);

}  // namespace
}  // namespace causeway::iommu
