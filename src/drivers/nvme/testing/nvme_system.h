// For tests: a machine with one NVMe controller, and the driver of the kernel that runs now.
//
//   NvmeSystem system({.size = MiB(16)});
//   system.start(options);                   // probe, preserve, commit, start
//   system.driver().write(0, segments);
//   system.kexec();                          // orderly; crash() is unannounced
//   system.start(options);                   // adopts
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "dma/debug/debug.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/testing/boot.h"
#include "drivers/nvme/nvme.h"
#include "iommu/map_domain.h"

namespace causeway::drivers::nvme::testing {

class NvmeSystem {
 public:
  // `domain`: of the controller, with `translation` what the machine makes of it; it lives on from kernel to kernel.
  explicit NvmeSystem(const machine::NvmeOptions& disk = {.size = MiB(16)}, const dma::testing::BootOptions& boot = {},
                      machine::Translation* translation = nullptr, iommu::MapDomain* domain = nullptr)
      : boot_(with_debug(boot)),
        domain_(domain),
        system_(boot_, MiB(64), {machine::DeviceSpec{.kind = machine::DeviceKind::kNvme, .nvme = disk}}, translation) {}
  ~NvmeSystem() { stop(); }

  platform::PciFunction function() {
    for (platform::PciFunction& found : system_.platform().pci().scan())
      if (Nvme::matches(found)) return found;
    std::abort();
  }
  Result<std::unique_ptr<Nvme>> probe(const NvmeOptions& options) {
    if (domain_ != nullptr && iommu_ == nullptr) {
      iommu_ = must(dma::IommuDma::create(system_.dma(), *domain_,
                                          {.restored = true, .leaves = [this](auto visit) { domain_->for_each_leaf(visit); }}));
      iommu_->set_preserved(domain_preserved);
    }
    return Nvme::probe({system_.platform(), system_.dma(), system_.kho(), iommu_.get()}, function(), options);
  }
  // The order the kernel room has. The result is that of preserve().
  Status start(const NvmeOptions& options) {
    driver_ = must(probe(options));
    system_.platform().interrupts().start();
    const bool early = driver_->adopted() && driver_->may_start_before_commit();
    if (early) must(driver_->start());
    Status preserved = driver_->preserve();
    must(system_.kho().commit(system_.platform().mailbox(), hw::HandoverKind::kStanding, 1));
    driver_->handover_committed();
    if (iommu_ != nullptr) released = iommu_->release_unclaimed();
    if (!early) must(driver_->start());
    return preserved;
  }
  void stop() {
    if (driver_) system_.platform().interrupts().stop();
    driver_.reset();
    iommu_.reset();
    // A kernel without dma-debug was asked for by name.
    if (dma::Debug* debug = system_.dma().debug()) {
      EXPECT_EQ(debug->errors(), expected_misuse) << misuse(*debug);
    }
  }
  void kexec() {
    driver_->freeze();
    stop();
    system_.kexec(boot_);
  }
  void crash() {
    stop();
    system_.crash(boot_);
  }

  // Preserved memory, as a controller that is handed over may use.
  PhysSegment memory(uint64_t size) {
    mm::Page* page = must(system_.pages().alloc_pages(Order::covering(size), mm::kGfpKernel | mm::kGfpZero));
    must(system_.kho().preserve_page(page, Order::covering(size)));
    return {system_.map().phys(page), size};
  }
  std::byte* at(PhysAddr phys) { return system_.at(phys); }
  Nvme& driver() { return *driver_; }
  dma::testing::System& system() { return system_; }
  const dma::testing::BootOptions& boot_options() const { return boot_; }

  dma::IommuDma& iommu() { return *iommu_; }
  bool domain_preserved = true;
  uint64_t released = 0;  // bytes that nobody claimed, of the kernel of the moment

  // Reports of dma-debug that the kernel of the moment is to end with.
  uint64_t expected_misuse = 0;

  bool wait_until(const std::function<bool()>& done, int ms = 20000) {
    for (int i = 0; i < ms && !done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return done();
  }
  // `commands` more complete.
  bool advances(uint64_t commands) {
    auto completed = [&] {
      NvmeStats stats = driver_->stats();
      return stats.reads + stats.writes;
    };
    uint64_t want = completed() + commands;
    return wait_until([&] { return completed() >= want; });
  }

 private:
  static std::string misuse(const dma::Debug& debug) {
    std::string text;
    for (unsigned i = 0; i < dma::kDebugErrors; ++i)
      if (uint64_t count = debug.errors(dma::DebugError{static_cast<uint8_t>(i)}))
        text += fmt::format("{}: {}\n", dma::name_of(dma::DebugError{static_cast<uint8_t>(i)}), count);
    return text;
  }
  static dma::testing::BootOptions with_debug(dma::testing::BootOptions boot) {
    boot.dma.debug = true;
    return boot;
  }
  dma::testing::BootOptions boot_;
  iommu::MapDomain* domain_;
  dma::testing::System system_;
  std::unique_ptr<dma::IommuDma> iommu_;
  std::unique_ptr<Nvme> driver_;
};

}  // namespace causeway::drivers::nvme::testing
