// What a translation costs a device: kept by its port, asked of the unit, walked, kept by the device itself.
#include <benchmark/benchmark.h>

#include "machine/testing/local_unit.h"
#include "machine/vtd/port.h"

namespace causeway::machine {
namespace {

namespace vt = hw::vtd;

constexpr Bdf kDevice{0, 1, 0};
constexpr uint64_t kIova = 0x7000'0000;
constexpr uint64_t kPages = 512;

struct Bench {
  explicit Bench(unsigned strict) : local(IommuSpec{.strict = strict}) {
    PhysAddr root = local.page(), context = local.page(), top = local.page();
    local.store(root, context.value() | 1);
    local.store(context + 16 * kDevice.value() + 8, vt::ContextWidth::make(2) | vt::ContextDomain::make(7));
    local.store(context + 16 * kDevice.value(),
                top.value() | vt::ContextTranslation::make(vt::kTranslateDeviceTlb) | 1);
    for (uint64_t i = 0; i < kPages; ++i) local.map(top, kIova + i * kPageSize, (0x200'0000 + i * kPageSize) | 3, 3);
    local.start(root, false);
    local.regions.register_gate(gate);
    gate.enter();
  }
  ~Bench() {
    gate.leave();
    local.regions.unregister_gate(gate);
  }
  Gate gate;
  testing::LocalUnit local;
  vtd::Port port{local.unit(), kDevice};
};

void translate(benchmark::State& state, Bench& bench, uint64_t stride) {
  uint64_t offset = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(bench.port.translate(std::nullopt, DmaAddr{kIova + offset}, 64, Access::kWrite));
    offset = (offset + stride) % (kPages * kPageSize);
  }
}

void BM_Hit(benchmark::State& state) {
  Bench bench(static_cast<unsigned>(state.range(0)));
  translate(state, bench, 0);
}
BENCHMARK(BM_Hit)->Arg(0)->Arg(1)->ArgName("strict");

// More pages than the port keeps: the unit's own cache answers.
void BM_UnitHit(benchmark::State& state) {
  Bench bench(static_cast<unsigned>(state.range(0)));
  translate(state, bench, kPageSize);
}
BENCHMARK(BM_UnitHit)->Arg(0)->Arg(1)->ArgName("strict");

void BM_AtcHit(benchmark::State& state) {
  Bench bench(static_cast<unsigned>(state.range(0)));
  bench.port.set_ats(true);
  translate(state, bench, 0);
}
BENCHMARK(BM_AtcHit)->Arg(0)->Arg(1)->ArgName("strict");

// A global invalidation before each, whose cost is not counted apart: invalidation, four levels, the caches filled.
void BM_InvalidateAndMiss(benchmark::State& state) {
  Bench bench(0);
  for (auto _ : state) {
    bench.gate.leave();
    bench.local.write(vt::kIotlbOffset + 8, 8, vt::IotlbStart::make(1) | vt::IotlbGranularity::make(vt::kGlobal));
    bench.gate.enter();
    benchmark::DoNotOptimize(bench.port.translate(std::nullopt, DmaAddr{kIova}, 64, Access::kWrite));
  }
}
BENCHMARK(BM_InvalidateAndMiss);

}  // namespace
}  // namespace causeway::machine
