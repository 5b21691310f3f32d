#include "kernel/kernel.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "drivers/allocation_pool.h"
#include "kernel/dma_remapping.h"
#include "kernel/memory_pressure.h"
#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"
#include "memfd/client_memory.h"
#include "memfd/memfd_handler.h"
#include "mm/vmalloc.h"
#include "sync/mutex.h"
#include "sync/thread.h"
#include "uapi/liveupdate.h"

namespace causeway::kernel {

namespace {

// The first MiB belongs to firmware, as on a PC; physical address 0 is never allocated, because the
// handover's chains use it for "none".
constexpr uint64_t kFirmwareSize = MiB(1);
// What text and data of a kernel would take up in RAM. Ours lives in its process; this stand-in is there
// because scratch is sized by what a boot reserves. A kernel that was jumped to lies in scratch.
constexpr uint64_t kImageSize = MiB(4);
constexpr auto kSelfTestPeriod = std::chrono::milliseconds(20);

}  // namespace

const char* name_of(BootKind kind) {
  switch (kind) {
    case BootKind::kCold: return "cold";
    case BootKind::kKexec: return "kexec";
    case BootKind::kTakeover: return "takeover";
    case BootKind::kColdAfterDamage: return "cold-after-damage";
  }
  return "?";
}

struct Kernel::State {
  explicit State(const BootParams& boot_params) : params(boot_params) {}
  struct Driven {
    Bdf bdf;
    std::unique_ptr<drivers::Driver> driver;
  };

  Status read_handover(mm::BootMemory& boot);
  Status build_memory();
  Status start_luo();
  void quiesce_unclaimed_devices();
  Status start_remapping();
  Status start_drivers();
  Status publish(hw::HandoverKind kind);
  void probe(std::span<platform::PciFunction> functions);
  // Of the drivers from the first-th on.
  void start_each(size_t first, const std::function<bool(const drivers::Driver&)>& wanted);
  void preserve_from(size_t first);
  void committed_from(size_t first);
  Status preserve(Driven& device);
  void self_test(sync::StopToken stop);
  void driver_failed(Bdf bdf, const Error& error);
  void start_threads();

  BootParams params;
  BootKind boot_kind = BootKind::kCold;
  bool devices_were_handed_over = false;
  uint64_t boot_began_ns = 0;
  uint64_t boot_ns = 0;
  uint64_t commit_ns = 0;
  std::vector<std::string> driver_errors;

  // In the order of construction; destroyed the other way round.
  std::unique_ptr<platform::Platform> platform;
  std::optional<mm::MemMap> map;
  std::unique_ptr<kho::Kho> kho;
  std::unique_ptr<mm::PageAllocator> allocator;
  std::unique_ptr<mm::Vmalloc> vmalloc;
  std::unique_ptr<memfd::ClientMemory> client_memory;
  memfd::FrozenFiles frozen_files;
  std::unique_ptr<memfd::MemfdHandler> memfd_handler;
  std::unique_ptr<luo::Orchestrator> luo;
  uapi::Devices devices;
  std::unique_ptr<dma::Dma> dma;
  std::unique_ptr<DmaRemapping> remapping;  // null: devices see physical addresses
  std::optional<dma::Device> pool_device;
  std::optional<drivers::AllocationPool> pool;
  std::vector<Driven> driven;
  std::optional<MemoryPressure> pressure;
  sync::Thread self_test_thread;
};

Kernel::Kernel(std::unique_ptr<State> state) : state_(std::move(state)) {}

Kernel::~Kernel() {
  // Threads first; then memory goes in reverse order of construction. No device is touched.
  state_->self_test_thread.request_stop();
  state_->self_test_thread.join();
  state_->pressure.reset();
  state_->platform->interrupts().stop();
  // What clients gave to the machine stays there for the next kernel, whoever lets go of it from here on.
  if (state_->client_memory != nullptr) state_->client_memory->abandon();
}

Result<std::unique_ptr<Kernel>> Kernel::boot(UniqueFd machine, const BootParams& params) {
  auto state = std::make_unique<State>(params);
  State& s = *state;
  s.boot_began_ns = monotonic_ns();
  s.platform = CW_TRY(platform::Platform::attach(std::move(machine)));
  CW_POINT("kernel.boot.after_attach");
  CW_TRY(s.build_memory());
  CW_POINT("kernel.boot.after_memory");
  std::unique_ptr<Kernel> kernel(new Kernel(std::move(state)));
  CW_TRY(s.start_drivers());
  CW_POINT("kernel.boot.done");
  log::info("kernel", "{} is generation {}, {} boot in {} us, handover published after {} us", params.kho.release,
            s.platform->generation(), name_of(s.boot_kind), s.boot_ns / 1000, s.commit_ns / 1000);
  return kernel;
}

// Decides between a cold and a warm boot, and reserves everything that was handed over.
Status Kernel::State::read_handover(mm::BootMemory& boot) {
  bool damaged = false;
  std::optional<platform::Handover> handover = platform->mailbox().current(&damaged);
  bool accepted = CW_TRY(kho->early_init(boot, handover));
  if (accepted) {
    boot_kind = handover->kind == hw::HandoverKind::kOrderly ? BootKind::kKexec : BootKind::kTakeover;
    quiesce_unclaimed_devices();
    return {};
  }
  if (handover || damaged) {
    boot_kind = BootKind::kColdAfterDamage;
    log::error("kernel", "{}; cold boot, what was handed over is lost",
               damaged ? "the kexec mailbox is damaged" : "the handover cannot be used");
  }
  // Memory that a running device may write to is about to be handed out: take it off the bus first.
  for (Bdf bdf : platform->pci().quiesce_all())
    log::warn("kernel", "{} was running and is known to nobody: taken off the bus", bdf);
  platform->mailbox().erase();
  return {};
}

// In a KHO boot a device may go on only if its driver handed it over.
void Kernel::State::quiesce_unclaimed_devices() {
  for (platform::PciFunction& function : platform->pci().scan()) {
    if (!function.bus_master()) continue;
    std::string subtree = drivers::nvme::Nvme::matches(function) ? drivers::nvme::Nvme::subtree_name(function.bdf())
                                                           : drivers::DmaEngine::subtree_name(function.bdf());
    if (kho->retrieve_subtree(subtree)) {
      devices_were_handed_over = true;
      continue;
    }
    function.set_bus_master(false);
    log::warn("kernel", "{} was running and was not handed over: taken off the bus", function.bdf());
  }
}

Status Kernel::State::build_memory() {
  map = CW_TRY(mm::MemMap::create(platform->direct_map()));
  mm::BootMemory boot;
  for (const platform::RamRange& ram : platform->ram())
    CW_TRY(ram.hot_added ? boot.add_client({ram.base, ram.size}) : boot.add({ram.base, ram.size}));
  CW_TRY(boot.reserve({PhysAddr{0}, kFirmwareSize}));

  kho = CW_TRY(kho::Kho::create(*map, params.kho));
  if (!platform->mailbox().current()) CW_TRY(boot.allocate(kImageSize, MiB(2)));
  CW_TRY(read_handover(boot));
  CW_POINT("kernel.boot.after_handover");

  boot.lift_restriction();
  allocator = CW_TRY(mm::PageAllocator::create(*map, params.check_pages));
  allocator->take_over(boot);
  vmalloc = std::make_unique<mm::Vmalloc>(*allocator, *platform);
  CW_TRY(kho->init(*allocator, *vmalloc));
  client_memory = std::make_unique<memfd::ClientMemory>(*platform, *allocator, *kho);
  CW_TRY(start_luo());
  dma = CW_TRY(dma::Dma::create(*allocator, *vmalloc, *kho, params.dma));
  dma->set_faults(params.dma_faults);
  return start_remapping();
}

// Every device is off the bus by now, or is handed over.
Status Kernel::State::start_remapping() {
  remapping = CW_TRY(DmaRemapping::start({*platform, *allocator, *kho, *dma, devices_were_handed_over}, params.iommu));
  CW_POINT("kernel.boot.after_remapping");
  return {};
}

// Before anybody can open the device: file types that are registered later come too late for incoming sessions.
Status Kernel::State::start_luo() {
  luo = CW_TRY(luo::Orchestrator::create(*kho, {.enabled = params.liveupdate}));
  memfd_handler = std::make_unique<memfd::MemfdHandler>(*client_memory, frozen_files, *kho, *vmalloc);
  if (!luo->is_enabled()) return {};
  if (Status published = luo->publish_outgoing(); !published) {
    log::error("kernel", "no live update of programs: {}", to_string(published.error()));
    return {};
  }
  CW_TRY(luo->register_handler(*memfd_handler));
  return devices.add(std::make_unique<uapi::LiveUpdateDevice>(*luo));
}

void Kernel::State::driver_failed(Bdf bdf, const Error& error) {
  driver_errors.push_back(fmt::format("{}: {}", bdf, to_string(error)));
  log::error("kernel", "{}: no driver: {}", bdf, to_string(error));
}

Status Kernel::State::start_drivers() {
  pool_device.emplace(*dma, "allocation-pool");
  CW_TRY(pool_device->set_mask_and_coherent(dma::bit_mask(64)));
  pool.emplace(*kho, *pool_device);
  if (Status restored = pool->restore_or_allocate(params.ballast); !restored)
    driver_errors.push_back(fmt::format("allocation pool: {}", to_string(restored.error())));

  // Devices that were handed over come first: they are running, and their interrupt vectors are taken. What is set up anew
  // takes longer, and nobody waits for it.
  std::vector<platform::PciFunction> functions = platform->pci().scan();
  auto fresh = std::stable_partition(functions.begin(), functions.end(), [](const auto& f) { return f.bus_master(); });
  probe({functions.begin(), fresh});
  platform->interrupts().start();
  CW_POINT("kernel.boot.after_probe");

  // An adopted device's records are waiting: consume first, preserve afterwards, if it can.
  start_each(0, [](const drivers::Driver& driver) { return driver.may_start_before_commit(); });
  boot_ns = monotonic_ns() - boot_began_ns;
  CW_POINT("kernel.boot.after_first_work");
  if (kho->is_enabled()) {
    preserve_from(0);
    if (pool->size() != 0) CW_TRY(pool->preserve());
    if (remapping != nullptr) CW_TRY(remapping->publish());
    CW_POINT("kernel.boot.before_commit");
    CW_TRY(publish(hw::HandoverKind::kStanding));
    if (remapping != nullptr) remapping->handover_committed();
    committed_from(0);
    commit_ns = monotonic_ns() - boot_began_ns;
    CW_POINT("kernel.boot.after_commit");
    pool->handover_committed();
  }
  start_each(0, [](const drivers::Driver& driver) { return !driver.may_start_before_commit(); });

  // One set up by this kernel may not write before its memory is preserved and the handover published.
  const size_t adopted = driven.size();
  probe({fresh, functions.end()});
  CW_POINT("kernel.boot.after_fresh_probe");
  if (kho->is_enabled() && driven.size() != adopted) {
    preserve_from(adopted);
    CW_TRY(publish(hw::HandoverKind::kStanding));
    committed_from(adopted);
  }
  start_each(adopted, [](const drivers::Driver&) { return true; });
  // Not in the blackout: until then they are reserved memory like the others.
  client_memory->drop_unused();
  start_threads();
  return {};
}

void Kernel::State::probe(std::span<platform::PciFunction> functions) {
  for (platform::PciFunction& function : functions) {
    auto probed = [&](auto driver) {
      if (driver) {
        driven.push_back({function.bdf(), std::move(*driver)});
      } else {
        driver_failed(function.bdf(), driver.error());
      }
    };
    dma::IommuDma* iommu = nullptr;
    if (remapping != nullptr) {
      Result<dma::IommuDma*> translated = remapping->probe(function);
      if (!translated) {
        driver_failed(function.bdf(), translated.error());
        continue;
      }
      iommu = *translated;
    }
    drivers::DriverContext context{*platform, *dma, *kho, iommu};
    if (drivers::DmaEngine::matches(function))
      probed(drivers::DmaEngine::probe(context, function, params.dma_engine));
    else if (drivers::nvme::Nvme::matches(function))
      probed(drivers::nvme::Nvme::probe(context, function, params.nvme));
  }
}

void Kernel::State::start_each(size_t first, const std::function<bool(const drivers::Driver&)>& wanted) {
  for (size_t i = first; i < driven.size(); ++i) {
    if (!wanted(*driven[i].driver)) continue;
    if (Status started = driven[i].driver->start(); !started) driver_failed(driven[i].bdf, started.error());
  }
}

void Kernel::State::preserve_from(size_t first) {
  for (size_t i = first; i < driven.size(); ++i) {
    Status preserved = preserve(driven[i]);
    if (preserved) continue;
    if (preserved.error().code == Errno{EOPNOTSUPP}) {
      log::info("kernel", "{} cannot be handed over and stops at a live update: {}", driven[i].bdf,
                preserved.error().message);
    } else {
      driver_failed(driven[i].bdf, preserved.error());
    }
  }
}

void Kernel::State::committed_from(size_t first) {
  for (size_t i = first; i < driven.size(); ++i) driven[i].driver->handover_committed();
}

// What translates a device first: its driver's allocations have addresses of that.
Status Kernel::State::preserve(Driven& device) {
  if (std::ranges::count(params.no_handover, device.bdf) != 0) return fail(EOPNOTSUPP, "no_handover= names it");
  if (remapping != nullptr) CW_TRY(remapping->preserve(device.bdf));
  Status preserved = device.driver->preserve();
  if (!preserved && remapping != nullptr) remapping->unpreserve(device.bdf);
  return preserved;
}

Status Kernel::State::publish(hw::HandoverKind kind) {
  return kho->commit(platform->mailbox(), kind, platform->generation());
}

void Kernel::State::start_threads() {
  if (!pressure) pressure.emplace(*allocator, params.memory_pressure_pages);
  self_test_thread =
      sync::Thread("kernel.self_test", [this](sync::StopToken stop) { self_test(std::move(stop)); });
}

void Kernel::State::self_test(sync::StopToken stop) {
  do {
    for (Driven& device : driven) {
      Status tested = device.driver->self_test();
      if (!tested && tested.error().code != Errno{EBUSY})
        log::error("kernel", "{}: self test: {}", device.bdf, to_string(tested.error()));
    }
  } while (sync::sleep_unless_stopped(stop, kSelfTestPeriod));
}

Status Kernel::freeze() {
  State& s = *state_;
  if (!s.kho->is_enabled()) return fail(ENODEV, "kexec handover is off (kho=off): a live update would lose everything");
  CW_POINT("kernel.freeze.begin");
  CW_TRY(s.luo->serialize());
  CW_POINT("kernel.freeze.after_serialize");
  s.self_test_thread.request_stop();
  s.self_test_thread.join();
  for (State::Driven& device : s.driven) device.driver->freeze();
  CW_POINT("kernel.freeze.before_publish");
  Status published = s.publish(hw::HandoverKind::kOrderly);
  if (!published) {
    thaw();
    return published;
  }
  if (s.remapping != nullptr) s.remapping->shutdown();
  CW_POINT("kernel.freeze.end");
  return published;
}

void Kernel::thaw() {
  State& s = *state_;
  s.luo->undo_serialize();
  if (s.remapping != nullptr) s.remapping->undo_shutdown();
  if (Status published = s.publish(hw::HandoverKind::kStanding); !published)
    log::error("kernel", "the standing handover is not published: {}", to_string(published.error()));
  for (State::Driven& device : s.driven) device.driver->thaw();
  s.start_threads();
}

Status Kernel::drain() {
  for (State::Driven& device : state_->driven) CW_TRY(device.driver->drain());
  return {};
}

void Kernel::shutdown() {
  State& s = *state_;
  s.self_test_thread.request_stop();
  s.self_test_thread.join();
  if (s.pressure) s.pressure->stop();
  for (State::Driven& device : s.driven) device.driver->shutdown();
  s.driven.clear();
  s.platform->mailbox().erase();
}

KernelStatus Kernel::status() const {
  const State& s = *state_;
  KernelStatus status;
  status.release = s.params.kho.release;
  status.generation = s.platform->generation();
  status.boot = s.boot_kind;
  status.command_line = s.params.command_line;
  status.boot_ns = s.boot_ns;
  status.commit_ns = s.commit_ns;
  status.kho = s.kho->stats();
  status.pages = s.allocator->stats();
  status.dma = s.dma->stats();
  if (s.remapping != nullptr) status.iommu = s.remapping->stats();
  status.luo = s.luo->stats();
  for (const State::Driven& device : s.driven) {
    std::string bdf = fmt::format("{}", device.bdf);
    if (auto* engine = dynamic_cast<const drivers::DmaEngine*>(device.driver.get()))
      status.engines.emplace_back(bdf, engine->stats());
    else if (auto* nvme = dynamic_cast<const drivers::nvme::Nvme*>(device.driver.get()))
      status.nvmes.emplace_back(bdf, nvme->stats());
  }
  status.driver_errors = s.driver_errors;
  if (s.pressure) {
    status.pressure_rounds = s.pressure->rounds();
    status.pressure_damaged = s.pressure->damaged();
  }
  auto problem = [&](bool is_one, std::string text) {
    if (is_one) status.problems.push_back(std::move(text));
  };
  problem(status.boot == BootKind::kColdAfterDamage, "the handover could not be used: cold boot");
  problem(status.pages.bad_pages != 0,
          fmt::format("{} blocks were freed in a wrong state and are leaked", status.pages.bad_pages));
  problem(status.kho.failed_restores != 0,
          fmt::format("{} restores of memory that was not preserved", status.kho.failed_restores));
  problem(!status.luo.refusal.empty(), fmt::format("sessions were handed over and cannot be read: {}", status.luo.refusal));
  problem(status.dma.leaked != 0, fmt::format("{} DMA allocations could not be restored and are leaked",
                                              status.dma.leaked));
  problem(status.dma.debug_errors != 0,
          fmt::format("dma-debug: {} misuses of the DMA API by drivers", status.dma.debug_errors));
  for (const std::string& damage : status.iommu.damage) problem(true, fmt::format("iommu: {}", damage));
  problem(status.pressure_damaged != 0,
          fmt::format("{} blocks of allocated memory were written to by somebody else", status.pressure_damaged));
  return status;
}

const char* Kernel::handover_format() const {
  return state_->params.kho.format == kho::Format::kTyped ? kho::abi::kTypedCompatible : kho::abi::kCompatible;
}

platform::Platform& Kernel::platform() { return *state_->platform; }
mm::PageAllocator& Kernel::allocator() { return *state_->allocator; }
kho::Kho& Kernel::kho() { return *state_->kho; }
memfd::ClientMemory& Kernel::client_memory() { return *state_->client_memory; }
memfd::FrozenFiles& Kernel::frozen_files() { return state_->frozen_files; }
dma::Dma& Kernel::dma() { return *state_->dma; }
luo::Orchestrator& Kernel::luo() { return *state_->luo; }
uapi::Devices& Kernel::devices() { return state_->devices; }

}  // namespace causeway::kernel
