// What dma-debug adds to a map and its unmap: two records, the stack of the map included.
#include <benchmark/benchmark.h>

#include <memory>

#include "dma/debug/debug.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

struct Setup {
  System system;
  Device device = system.device();
  Debug debug{system.map(), {}};
};

void BM_DebugMapUnmap(benchmark::State& state) {
  static std::unique_ptr<Setup> setup;
  if (state.thread_index() == 0) setup = std::make_unique<Setup>();
  const uint64_t base = MiB(24) + static_cast<uint64_t>(state.thread_index()) * MiB(4);
  const auto direction = static_cast<Direction>(state.range(0));
  uint64_t i = 0;
  for (auto _ : state) {
    // Another page each time, so that buckets and chains are not always the same.
    uint64_t phys = base + (i++ & 1023) * 4096;
    setup->debug.map_phys(setup->device, PhysAddr(phys), 4096, direction, DmaAddr(phys), Attr::kNone);
    setup->debug.mapping_error(setup->device, DmaAddr(phys));
    setup->debug.unmap_phys(setup->device, DmaAddr(phys), 4096, direction, Attr::kNone);
  }
  if (state.thread_index() == 0) setup.reset();
}
BENCHMARK(BM_DebugMapUnmap)->Arg(1)->Arg(2)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace causeway::dma::testing
