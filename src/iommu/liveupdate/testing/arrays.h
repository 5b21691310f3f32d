// Real arrays with chosen contents, for tests of their reader.
//
//   Arrays arrays(machine, {.devices = 300});
//   arrays.devices[7]->map.domain_phys = 0;                      // damage
//   EXPECT_EQ(error_of(arrays.retrieve()), EBADMSG);             // by the next kernel
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/testing/results.h"
#include "iommu/liveupdate/preserved_state.h"
#include "kho/testing/test_machine.h"

namespace causeway::iommu::testing {

struct ArraysOptions {
  unsigned units = 2;
  unsigned domains = 3;
  unsigned devices = 5;
};

class Arrays {
 public:
  explicit Arrays(kho::TestMachine& machine, ArraysOptions options = {}) : machine_(machine) {
    kernel_.emplace(machine_);
    state = must(PreservedState::create(kernel_->pages));
    for (unsigned i = 0; i < options.units; ++i) {
      auto* unit = units.emplace_back(must(state->add<abi::IommuHwSer>()));
      unit->token = 0xfed9'0000 + i * kPageSize;
      unit->type = abi::UnitType::kIntel;
      unit->intel = {.phys_addr = unit->token, .root_table = 0x10'0000 + i * kPageSize};
      state->publish(unit);
    }
    for (unsigned i = 0; i < options.domains; ++i) {
      auto* domain = domains.emplace_back(must(state->add<abi::DomainSer>()));
      domain->top_table_phys = 0x20'0000 + i * kPageSize;
      domain->top_level = 3;
      domain->vasz = 48;
      state->publish(domain);
    }
    for (unsigned i = 0; i < options.devices; ++i) {
      auto* device = devices.emplace_back(must(state->add<abi::DeviceSer>()));
      device->devid = 0x100 + i;
      device->map = {.attachment_id = 2 + i % options.domains,
                     .domain_phys = state->phys_of(domains[i % options.domains]),
                     .iommu_phys = state->phys_of(units[i % options.units])};
      device->intel.pasid_table = 0x30'0000 + i * kPageSize;
      device->intel.max_pasid = 1 << 15;
      state->publish(device);
    }
    where_ = state->phys();
  }
  PhysAddr where() const { return where_; }
  kho::TestMachine& machine() { return machine_; }
  kho::Kho& kho() { return *kernel_->generation.kho; }
  IommuPages& pages() { return kernel_->pages; }

  // The kernel is replaced; `state` and what it points to belong to the past, but the memory is there.
  void kexec() {
    kernel_->generation.commit();
    crash();
  }
  // The next kernel finds what stands.
  void crash() {
    state.reset();
    kernel_.reset();
    kernel_.emplace(machine_);
  }
  Result<std::unique_ptr<PreservedState>> retrieve() {
    if (state != nullptr) kexec();
    return PreservedState::retrieve(kernel_->pages, where_);
  }

  std::unique_ptr<PreservedState> state;
  std::vector<abi::IommuHwSer*> units;
  std::vector<abi::DomainSer*> domains;
  std::vector<abi::DeviceSer*> devices;

 private:
  struct Kernel {
    explicit Kernel(kho::TestMachine& machine)
        : generation(machine), pages(*generation.allocator, generation.kho.get()) {}
    kho::Generation generation;
    IommuPages pages;
  };
  kho::TestMachine& machine_;
  std::optional<Kernel> kernel_;
  PhysAddr where_;
};

}  // namespace causeway::iommu::testing
