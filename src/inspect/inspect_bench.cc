// How long a summary of a large machine takes.
#include <benchmark/benchmark.h>

#include "inspect/decode.h"
#include "inspect/render.h"
#include "inspect/testing/sparse_image.h"

namespace causeway::inspect {
namespace {

// Argument: preserved runs, spread over 1 TiB.
void BM_SummaryOfATebibyte(benchmark::State& state) {
  const SparseImage sparse = SparseImage::create(TiB(1), static_cast<uint64_t>(state.range(0)));
  uint64_t nodes = 0;
  for (auto _ : state) {
    auto image = ImageFile::open(sparse.path(), {});
    const Report report = decode(image->memory(), options_for(*image));
    benchmark::DoNotOptimize(render_text(report, {}));
    nodes = report.map.nodes;
  }
  state.counters["nodes"] = static_cast<double>(nodes);
}
BENCHMARK(BM_SummaryOfATebibyte)->Arg(1000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace causeway::inspect
