// What a streaming map costs behind a remapping unit of the machine: page tables that the unit walks, and a flush through
// its invalidation queue. A pair is a map and its unmap; `strict` waits for the unit in every unmap.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "dma/iommu/iommu_dma.h"
#include "dma/map.h"
#include "dma/testing/boot.h"
#include "dma/testing/streaming.h"
#include "iommu/core.h"
#include "iommu/group.h"
#include "iommu/vtd/vtd_driver.h"

namespace causeway::dma::testing {
namespace {

constexpr Bdf kNic{0, 1, 0};

struct BehindUnit {
  BehindUnit(iommu::DomainType type, bool scalable)
      : system({}, MiB(64), {machine::DeviceSpec{.bdf = kNic}}, nullptr, {machine::IommuSpec{.scalable = scalable}}),
        core({.default_type = type}) {
    core.register_driver(*vtd);
    owner = must(core.probe_device({.bdf = kNic, .name = "0000:00:01.0"}));
    iommu::Group& group = owner->group();
    iommu = must(IommuDma::create(system.dma(), *group.default_domain(), {.reserved = group.reserved_regions()}));
    must(attach_iommu(device, *iommu));
  }
  ~BehindUnit() {
    iommu.reset();
    core.release_device(*owner);
  }
  System system;
  iommu::IommuPages tables{system.pages(), &system.kho()};
  std::unique_ptr<iommu::vtd::VtdDriver> vtd =
      must(iommu::vtd::VtdDriver::create(system.platform(), tables, nullptr, {}));
  iommu::Core core;
  iommu::Device* owner = nullptr;
  std::unique_ptr<IommuDma> iommu;
  Device device = system.device();
};

void pairs(benchmark::State& state, iommu::DomainType type) {
  log::set_level(log::Level::kError);
  const bool scalable = state.range(0) != 0;
  BehindUnit setup(type, scalable);
  const auto size = static_cast<size_t>(state.range(1));
  PhysAddr buffer = page(setup.system, Order::covering(size).value());
  for (auto _ : state) {
    DmaAddr address = map_phys(setup.device, buffer, size, Direction::kFromDevice, Attr::kNone);
    if (address == kMappingError) return state.SkipWithError("not mapped");
    unmap_phys(setup.device, address, size, Direction::kFromDevice, Attr::kNone);
  }
  state.SetLabel(fmt::format("{} mode, {} KiB", scalable ? "scalable" : "legacy", size / KiB(1)));
}

void BM_VtdStrict(benchmark::State& state) {
  pairs(state, iommu::DomainType::kDma);
}
BENCHMARK(BM_VtdStrict)->ArgsProduct({{0, 1}, {KiB(4), KiB(64)}})->UseRealTime();

void BM_VtdDeferred(benchmark::State& state) {
  pairs(state, iommu::DomainType::kDmaFq);
}
BENCHMARK(BM_VtdDeferred)->ArgsProduct({{0, 1}, {KiB(4), KiB(64)}})->UseRealTime();

}  // namespace
}  // namespace causeway::dma::testing
