// A machine, and one kernel with an IOMMU after another on it, for tests of live update. The IOMMU's driver is the fake one;
// domains have a FakeTable unless `make_table` says otherwise.
//
//   System system;
//   Device& nic = system->device(1);
//   must(system->hand_over(nic, 0x10));            // its default domain, with one mapping, and itself; standing
//   system.kexec();
//   system->translates(system->device(1), 0x10);   // taken over by the core as it is probed
//
// A kernel does at boot what a real one does: it retrieves the standing carrier, if there is one, and makes its own; commit()
// publishes that.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/testing/results.h"
#include "iommu/core.h"
#include "iommu/liveupdate/live_update.h"
#include "iommu/liveupdate/standing.h"
#include "iommu/liveupdate/testing/fake_table.h"
#include "iommu/testing/fake_driver.h"
#include "kho/testing/test_machine.h"

namespace causeway::iommu::testing {

struct BootOptions {
  std::function<Result<std::unique_ptr<IoPageTable>>(IommuPages&)> make_table =
      [](IommuPages& pages) -> Result<std::unique_ptr<IoPageTable>> { return CW_TRY(FakeTable::create(pages)); };
  bool retrieve = true;
  std::function<void(kho::TestMachine&, PhysAddr)> damage;  // of what was handed over, before it is read
};

class Kernel {
 public:
  explicit Kernel(kho::TestMachine& machine, const BootOptions& options = {})
      : generation(machine), pages(*generation.allocator, generation.kho.get()), live_update(pages) {
    driver.pages = &pages;
    driver.make_table = [this, make = options.make_table] { return make(pages); };
    core.register_driver(driver);
    core.set_live_update(&live_update);
    if (auto where = find_standing(*generation.kho)) {
      incoming = *where;
      if (options.damage) options.damage(machine, *where);
      if (options.retrieve) retrieved = live_update.retrieve(Carrier::kStanding, *where);
    }
    standing = must(live_update.create(Carrier::kStanding));
  }
  void commit() {
    if (!published) must(publish_standing(*generation.kho, standing));
    published = true;
    generation.commit();
  }

  Device& device(unsigned number) { return device(Bdf(number / 32, number % 32, 0)); }
  Device& device(Bdf bdf) {
    if (Device* known = core.find(0, bdf)) return *known;
    return *must(core.probe_device({.bdf = bdf, .name = fmt::format("0000:{}", bdf)}));
  }
  // A domain of its own, for the owner of the device's group, which is `owner` from now on. It ends with the kernel, which
  // frees nothing.
  Domain& unmanaged(Device& device, const void* owner) {
    static auto& all = *new std::vector<std::unique_ptr<Domain>>;
    Domain& made = *all.emplace_back(must(driver.alloc_paging(device, DomainType::kUnmanaged, 0)));
    attach(made, device, owner);
    return made;
  }
  void attach(Domain& domain, Device& device, const void* owner) {
    must(device.group().claim_dma_owner(owner));
    must(device.group().attach(domain));
  }
  Domain& domain_of(Device& device) { return *device.group().domain(); }
  // As many mappings as `pages`, from address 0x1000 on: each page of the bus is a page above `phys`.
  void map(Domain& domain, uint64_t phys, unsigned count = 1) {
    for (unsigned i = 1; i <= count; ++i)
      must(domain.map(Iova(i * kPageSize), PhysAddr(phys + i * kPageSize), kPageSize, kRead | kWrite));
  }
  Status hand_over(Device& device, uint64_t phys) {
    map(domain_of(device), phys);
    return hand_over_again(device);
  }
  // One that has been taken over; its domain may be preserved already.
  Status hand_over_again(Device& device, uint64_t owner_token = 0) {
    Domain& domain = domain_of(device);
    if (!live_update.is_preserved(domain)) CW_TRY(live_update.preserve_domain(Carrier::kStanding, domain));
    return live_update.preserve_device(Carrier::kStanding, domain, device, owner_token);
  }
  bool translates(Device& device, uint64_t phys, unsigned count = 1) {
    for (unsigned i = 1; i <= count; ++i)
      if (domain_of(device).iova_to_phys(Iova(i * kPageSize)) != PhysAddr(phys + i * kPageSize)) return false;
    return true;
  }
  uint64_t preserved() const { return generation.kho->stats().preserved_blocks; }

  kho::Generation generation;
  IommuPages pages;
  FakeDriver driver;
  LiveUpdate live_update;
  Core core;
  std::optional<PhysAddr> incoming;
  Status retrieved;
  PhysAddr standing;
  bool published = false;
};

class System {
 public:
  explicit System(const BootOptions& options = {}) { boot(options); }
  Kernel* operator->() { return kernel_.get(); }
  Kernel& operator*() { return *kernel_; }
  void kexec(const BootOptions& options = {}) {
    kernel_->commit();
    crash(options);
  }
  // The next kernel finds what stands.
  void crash(const BootOptions& options = {}) {
    die();
    boot(options);
  }
  void die() { kernel_.reset(); }
  kho::TestMachine& machine() { return machine_; }

 private:
  void boot(const BootOptions& options) { kernel_ = std::make_unique<Kernel>(machine_, options); }
  kho::TestMachine machine_;
  std::unique_ptr<Kernel> kernel_;
};

}  // namespace causeway::iommu::testing
