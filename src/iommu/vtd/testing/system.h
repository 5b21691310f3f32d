// For tests: a machine with remapping units and DMA engines, and one kernel after another on it, with the IOMMU core, the VT-d
// driver and KHO.
//
//   System system({.iommus = {scalable_unit()}, .devices = {engine(1), engine(2)}});
//   Device& nic = system.probe(Bdf(0, 1, 0));
//   Domain& domain = *nic.group().default_domain();
//   must(domain.map(Iova{0x100000}, page, kPageSize, kRead | kWrite));
//   ...
//   system.commit();                          // the standing handover counts from now on
//   system.crash();                           // the next kernel; the machine has not noticed
//   EXPECT_EQ(system.reports(), 0u);          // what software must never do
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "base/testing/results.h"
#include "iommu/core.h"
#include "iommu/liveupdate/live_update.h"
#include "iommu/liveupdate/standing.h"
#include "iommu/pci_device.h"
#include "iommu/vtd/paging_domain.h"
#include "iommu/vtd/vtd_driver.h"
#include "kho/testing/kernel_memory.h"
#include "machine/machine.h"

namespace causeway::iommu::vtd::testing {

inline machine::DeviceSpec engine(unsigned device) { return {.bdf = Bdf(0, device, 0)}; }
inline machine::IommuSpec legacy_unit() { return {.scalable = false}; }
inline machine::IommuSpec scalable_unit() { return {.scalable = true}; }

// One page, as the DMA API does it.
inline void map(Domain& domain, uint64_t iova, PhysAddr phys, uint32_t prot = kRead | kWrite) {
  must(domain.map(Iova(iova), phys, kPageSize, prot));
  domain.sync_map(Iova(iova), kPageSize);
}
inline void unmap(Domain& domain, uint64_t iova) {
  Gather gather;
  EXPECT_EQ(domain.unmap(Iova(iova), kPageSize, gather), kPageSize);
  domain.sync(gather);
}

class System {
 public:
  struct Options {
    std::vector<machine::IommuSpec> iommus = {scalable_unit()};
    std::vector<machine::DeviceSpec> devices = {engine(1), engine(2)};
    VtdOptions vtd = {};
    CoreOptions core = {};
    machine::LineFlushes* lines = nullptr;
  };
  // `self`: told before the first kernel boots.
  explicit System(Options options, System** self = nullptr)
      : options_(std::move(options)),
        machine_(must(machine::Machine::create({.ram = MiB(64),
                                                .devices = options_.devices,
                                                .iommus = options_.iommus,
                                                .line_flushes = options_.lines}))) {
    if (self != nullptr) *self = this;
    boot(machine_->connect());
  }
  ~System() { die(); }

  // Publishes what this kernel hands over.
  void commit(hw::HandoverKind kind = hw::HandoverKind::kStanding) {
    kernel_->memory.commit(kind);
  }
  // The kernel is gone, without a word; the next one.
  void crash(const VtdFaults& faults = {}) {
    die();
    boot(machine_->connect(), faults);
  }
  // In order.
  void kexec(const VtdFaults& faults = {}) {
    commit(hw::HandoverKind::kOrderly);
    must(vtd().shut_down());
    crash(faults);
  }
  // A domain of a kernel that is gone: it gives nothing back, as it would not on a real machine.
  static void bury(std::unique_ptr<Domain> domain) {
    static auto& dead = *new std::vector<std::unique_ptr<Domain>>;
    dead.push_back(std::move(domain));
  }
  // For a kernel in a process of its own.
  UniqueFd connect() { return machine_->connect(); }
  void die();
  void boot(UniqueFd control, const VtdFaults& faults = {});
  Options& options() { return options_; }
  // This kernel's standing arrays: what the next one reads, for tests that damage it.
  abi::IommuFlbSer& standing() { return *record<abi::IommuFlbSer>(standing_.value()); }
  template <typename Record>
  Record* record(uint64_t phys) { return reinterpret_cast<Record*>(at(PhysAddr(phys))); }
  // The first of a chain.
  template <typename Record>
  Record* first_record(uint64_t array_phys) { return record<Record>(array_phys + sizeof(abi::IommuArrayHdrSer)); }

  VtdDriver& vtd() { return *kernel_->vtd; }
  VtdUnit& unit(unsigned index = 0) { return *vtd().units().at(index); }
  Core& core() { return *kernel_->core; }
  LiveUpdate& live_update() { return *kernel_->live_update; }
  IommuPages& tables() { return *kernel_->tables; }
  platform::Platform& platform() { return *kernel_->memory.platform; }
  mm::PageAllocator& pages() { return *kernel_->memory.pages; }
  std::byte* at(PhysAddr phys) { return kernel_->memory.map.direct_map().to_virt(phys); }

  void fill(PhysAddr where, uint64_t value) { std::memcpy(at(where), &value, sizeof value); }
  uint64_t word(PhysAddr where) {
    uint64_t value;
    std::memcpy(&value, at(where), sizeof value);
    return value;
  }

  Result<Device*> try_probe(Bdf bdf) { return core().probe_device(info(bdf)); }
  Device& probe(Bdf bdf) { return *must(try_probe(bdf)); }
  DeviceInfo info(Bdf bdf);
  platform::PciFunction function(Bdf bdf);

  // Memory that is handed over, so that it is still the same one in the next kernel.
  PhysAddr page(Order order = kOrder0);
  // A domain and a device into the standing carrier.
  void hand_over(Device& device, Domain& domain) {
    if (!live_update().is_preserved(domain)) must(live_update().preserve_domain(Carrier::kStanding, domain));
    must(live_update().preserve_device(Carrier::kStanding, domain, device, 0));
  }
  // `name=value` of the machine's status; empty: no such line.
  std::string status(const std::string& name);
  uint64_t number(const std::string& name) { return std::stoull(status(name)); }
  // Strict reports of the model, of all units.
  uint64_t reports();
  uint64_t faults(unsigned unit = 0) { return number("iommu" + std::to_string(unit) + ".faults"); }
  std::string all_status() { return must(platform().machine_status()); }

 private:
  struct Kernel {
    explicit Kernel(UniqueFd control) : memory(std::move(control)) {}
    kho::testing::KernelMemory memory;
    std::unique_ptr<IommuPages> tables;
    std::unique_ptr<LiveUpdate> live_update;
    std::unique_ptr<Core> core;
    std::unique_ptr<VtdDriver> vtd;
  };

  Options options_;
  std::unique_ptr<machine::Machine> machine_;
  std::unique_ptr<Kernel> kernel_;
  PhysAddr standing_;
};

inline void System::boot(UniqueFd control, const VtdFaults& faults) {
  kernel_ = std::make_unique<Kernel>(std::move(control));
  Kernel& k = *kernel_;
  platform().interrupts().start();
  k.tables = std::make_unique<IommuPages>(*k.memory.pages, k.memory.kho.get());
  k.live_update = std::make_unique<LiveUpdate>(*k.tables);
  if (auto where = find_standing(*k.memory.kho)) (void)k.live_update->retrieve(Carrier::kStanding, *where);
  // Nobody goes on but those that were handed over.
  for (platform::PciFunction& function : platform().pci().scan())
    if (k.live_update->find_device(0, function.bdf()) == nullptr && k.live_update->damage().empty())
      function.set_bus_master(false);
  standing_ = must(k.live_update->create(Carrier::kStanding));
  must(publish_standing(*k.memory.kho, standing_));
  k.core = std::make_unique<Core>(options_.core);
  VtdOptions vtd = options_.vtd;
  if (!vtd.on_fault) vtd.on_fault = [core = k.core.get()](const FaultReport& fault) { core->report_fault(fault); };
  k.vtd = must(VtdDriver::create(platform(), *k.tables, k.live_update.get(), std::move(vtd), faults));
  k.core->register_driver(*k.vtd);
  if (!options_.vtd.crash_kernel) k.core->set_live_update(k.live_update.get());
}

// Nothing is given back: what the IOMMU side has made is not destroyed at all, as it would not be on a real machine.
inline void System::die() {
  if (kernel_ == nullptr) return;
  Kernel& k = *kernel_;
  struct Dead {
    std::unique_ptr<IommuPages> tables;
    std::unique_ptr<LiveUpdate> live_update;
    std::unique_ptr<Core> core;
    std::unique_ptr<VtdDriver> vtd;
  };
  static auto& dead = *new std::vector<Dead>;
  platform().interrupts().stop();
  dead.push_back({std::move(k.tables), std::move(k.live_update), std::move(k.core), std::move(k.vtd)});
  kernel_.reset();
}

inline platform::PciFunction System::function(Bdf bdf) {
  for (platform::PciFunction& function : platform().pci().scan())
    if (function.bdf() == bdf) return function;
  std::abort();
}

inline DeviceInfo System::info(Bdf bdf) {
  for (platform::PciFunction& function : platform().pci().scan())
    if (function.bdf() == bdf) return describe(function);
  return {.bdf = bdf, .name = fmt::format("0000:{}", bdf)};
}

inline PhysAddr System::page(Order order) {
  mm::Gfp gfp = mm::kGfpKernel | mm::kGfpZero;
  if (order != kOrder0) gfp = gfp | mm::Gfp::kComp;
  mm::Page* page = must(pages().alloc_pages(order, gfp));
  must(kernel_->memory.kho->preserve_folio(page));
  return kernel_->memory.map.phys(page);
}

inline std::string System::status(const std::string& name) {
  std::string text = "\n" + all_status();
  size_t at = text.find("\n" + name + "=");
  if (at == std::string::npos) return {};
  at += name.size() + 2;
  return text.substr(at, text.find('\n', at) - at);
}

inline uint64_t System::reports() {
  uint64_t total = 0;
  for (unsigned i = 0; i < options_.iommus.size(); ++i) total += number(fmt::format("iommu{}.reports", i));
  return total;
}

}  // namespace causeway::iommu::vtd::testing
