// For tests: a system, a domain in memory, and devices behind it that do what devices do.
//
//   BehindIommu setup;
//   Device nic = setup.device();
//   DmaAddr bus = map_phys(nic, phys, 4096, Direction::kFromDevice, Attr::kNone);
//   EXPECT_TRUE(setup.write(bus, "abc"));      // by the IOTLB or the table; false: a fault
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "dma/iommu/iommu_dma.h"
#include "dma/map.h"
#include "dma/testing/boot.h"
#include "dma/testing/streaming.h"
#include "dma/two_step.h"
#include "iommu/map_domain.h"

namespace causeway::dma::testing {

struct BehindIommu {
  using Options = iommu::MapDomain::Options;
  explicit BehindIommu(const Options& domain_options = {}, const IommuDmaOptions& options = {}, const Config& config = {})
      : boot(with(config)), system(boot), domain(domain_options), iommu(must(IommuDma::create(system.dma(), domain, options))) {}

  // The next kernel. What is mapped stays mapped; that stands for page tables that are handed over.
  void kexec() {
    iommu.reset();
    system.kexec(boot);
    take_over();
  }
  void crash() {
    iommu.reset();
    system.crash(boot);
    take_over();
  }
  void take_over() {
    iommu = must(IommuDma::create(system.dma(), domain, restored_options()));
    iommu->set_preserved(true);
  }
  IommuDmaOptions restored_options() {
    return {.restored = true, .leaves = [this](auto visit) { domain.for_each_leaf(visit); }};
  }

  Device device(DeviceTraits traits = {}, std::string name = "0000:00:01.0") {
    Device made = system.device(traits, std::move(name));
    must(attach_iommu(made, *iommu));
    return made;
  }

  // What the device does. False: it was refused somewhere on the way.
  bool access(DmaAddr address, void* data, uint64_t bytes, uint32_t access) {
    for (uint64_t done = 0; done < bytes;) {
      auto run = domain.translate(Iova(address.value() + done), bytes - done, access);
      if (run.bytes == 0) return false;
      auto* at = static_cast<std::byte*>(data) + done;
      if (access == iommu::kWrite)
        std::memcpy(system.at(run.phys), at, run.bytes);
      else
        std::memcpy(at, system.at(run.phys), run.bytes);
      done += run.bytes;
    }
    return true;
  }
  bool write(DmaAddr address, std::string_view text) {
    return access(address, const_cast<char*>(text.data()), text.size(), iommu::kWrite);
  }
  std::optional<std::string> read(DmaAddr address, uint64_t bytes) {
    std::string text(bytes, '\0');
    if (!access(address, text.data(), bytes, iommu::kRead)) return std::nullopt;
    return text;
  }
  std::string memory(PhysAddr phys, uint64_t bytes) {
    return {reinterpret_cast<const char*>(system.at(phys)), bytes};
  }
  uint32_t prot(DmaAddr address) {
    auto entry = domain.find(Iova(address.value()));
    return entry ? entry->prot : 0;
  }
  uint64_t mapped_bytes() { return domain.counts().mapped_bytes; }

  const BootOptions boot;
  System system;
  iommu::MapDomain domain;
  std::unique_ptr<IommuDma> iommu;
};

}  // namespace causeway::dma::testing
