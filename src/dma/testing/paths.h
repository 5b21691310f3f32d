// For tests: every way a mapping can take from memory to a device, with the CPU on one side and the device on the other.
//
//   for (const PathSpec& spec : all_paths()) {
//     Path path(spec);
//     path.cpu_write(phys, bytes);
//     DmaAddr bus = map_phys(path.device, phys, bytes.size(), Direction::kToDevice, Attr::kNone);
//     ASSERT_TRUE(path.device_read(bus, seen));          // false: a fault
//   }
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dma/iommu/iommu_dma.h"
#include "dma/testing/line_cache.h"
#include "dma/testing/streaming.h"
#include "iommu/map_domain.h"

namespace causeway::dma::testing {

struct PathSpec {
  const char* name;
  bool coherent = true;
  unsigned mask_bits = 64;
  bool force_bounce = false;
  std::optional<iommu::DomainType> domain;  // none: the direct path
  bool untrusted = false;
};

inline std::vector<PathSpec> all_paths() {
  using iommu::DomainType;
  return {
      {.name = "direct"},
      {.name = "direct, incoherent", .coherent = false},
      {.name = "every map bounces", .force_bounce = true},
      {.name = "a 32-bit device", .mask_bits = 32},
      {.name = "iommu, strict", .domain = DomainType::kDma},
      {.name = "iommu, strict, incoherent", .coherent = false, .domain = DomainType::kDma},
      {.name = "iommu, deferred", .domain = DomainType::kDmaFq},
      {.name = "iommu, untrusted", .domain = DomainType::kDma, .untrusted = true},
  };
}

class Path {
 public:
  explicit Path(const PathSpec& spec)
      : system(with({.swiotlb_force = spec.force_bounce, .debug = true})),
        device(system.device({.coherent = spec.coherent, .untrusted = spec.untrusted})),
        debug(*system.dma().debug()) {
    must(device.set_mask_and_coherent(bit_mask(spec.mask_bits)));
    debug.set_all_errors(true);
    if (!spec.coherent) {
      cache = std::make_unique<LineCache>(system.map());
      system.dma().state().cache.set_model(cache.get());
    }
    if (spec.domain) {
      domain_ = std::make_unique<iommu::MapDomain>(iommu::MapDomain::Options{.type = *spec.domain});
      iommu_ = must(IommuDma::create(system.dma(), *domain_, {}));
      must(attach_iommu(device, *iommu_));
    }
  }
  ~Path() {
    if (iommu_) detach_iommu(device);
    iommu_.reset();
    system.dma().state().cache.set_model(nullptr);
  }

  // Those of odd index below 4 GiB, the others above.
  PhysAddr buffer(unsigned order, unsigned index) {
    if (index % 2 == 1) return page_below(system, PhysAddr{bit_mask(32)}, order);
    return page(system, order);
  }

  void cpu_write(PhysAddr phys, std::span<const std::byte> from) {
    if (cache) return cache->write(phys, from);
    std::memcpy(system.at(phys), from.data(), from.size());
  }
  void cpu_read(PhysAddr phys, std::span<std::byte> to) {
    if (cache) return cache->read(phys, to);
    std::memcpy(to.data(), system.at(phys), to.size());
  }
  bool device_write(DmaAddr bus, std::span<const std::byte> from) {
    return access(bus, from.size(), iommu::kWrite, [&](std::byte* memory, size_t done, size_t bytes) {
      std::memcpy(memory, from.data() + done, bytes);
    });
  }
  bool device_read(DmaAddr bus, std::span<std::byte> to) {
    return access(bus, to.size(), iommu::kRead, [&](const std::byte* memory, size_t done, size_t bytes) {
      std::memcpy(to.data() + done, memory, bytes);
    });
  }
  bool is_reachable(DmaAddr bus) {
    return !domain_ || domain_->translate(Iova(bus.value()), 1, iommu::kRead).bytes != 0 ||
           domain_->translate(Iova(bus.value()), 1, iommu::kWrite).bytes != 0;
  }
  // Bounce buffers still in use.
  uint64_t slots_used() { return system.dma().swiotlb() != nullptr ? system.dma().swiotlb()->stats().used : 0; }
  uint64_t mapped_bytes() const { return domain_ ? domain_->counts().mapped_bytes : 0; }
  void settle() {
    if (iommu_) iommu_->drain();
  }

 private:
  template <typename Function>
  bool access(DmaAddr bus, size_t size, uint32_t kind, Function function) {
    for (size_t done = 0; done < size;) {
      uint64_t bytes = size - done;
      PhysAddr phys;
      if (domain_) {
        iommu::MapDomain::Run run = domain_->translate(Iova(bus.value() + done), bytes, kind);
        phys = run.phys;
        bytes = run.bytes;
      } else {
        std::optional<PhysAddr> found = device.to_phys(bus + done);
        if (!found || bus.value() + size - 1 > device.limit()) return false;
        phys = *found;
      }
      if (bytes == 0) return false;
      function(system.at(phys), done, bytes);
      done += bytes;
    }
    return true;
  }

 public:
  System system;
  Device device;
  Debug& debug;
  std::unique_ptr<LineCache> cache;  // null: the device is coherent

 private:
  std::unique_ptr<iommu::MapDomain> domain_;
  std::unique_ptr<IommuDma> iommu_;
};

}  // namespace causeway::dma::testing
