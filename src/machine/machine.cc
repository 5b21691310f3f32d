#include "machine/machine.h"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <iterator>
#include <mutex>

#include "base/log.h"
#include "machine/bus.h"
#include "machine/bus_memory.h"
#include "machine/control_server.h"
#include "machine/dma_engine/dma_engine.h"
#include "machine/interrupt_sink.h"
#include "machine/nvme/controller.h"
#include "machine/region_map.h"
#include "machine/translation.h"
#include "machine/vtd/remapping.h"

namespace causeway::machine {

namespace {

Status check_devices(const std::vector<DeviceSpec>& devices) {
  for (size_t i = 0; i < devices.size(); ++i) {
    Bdf bdf = devices[i].bdf;
    if (bdf.bus() != 0) return fail(EINVAL, "a device is not on bus 0");
    for (size_t j = 0; j < i; ++j) {
      if (devices[j].bdf == bdf) return fail(EINVAL, "two devices have the same address");
    }
    // Software looks for functions 1 to 7 only where it has found function 0.
    bool has_function0 = false;
    for (const DeviceSpec& other : devices)
      has_function0 = has_function0 || (other.bdf.device() == bdf.device() && other.bdf.function() == 0);
    if (!has_function0) return fail(EINVAL, "a device has a function but no function 0");
  }
  return {};
}

bool is_multi_function(const std::vector<DeviceSpec>& devices, Bdf bdf) {
  for (const DeviceSpec& other : devices) {
    if (other.bdf != bdf && other.bdf.device() == bdf.device()) return true;
  }
  return false;
}

}  // namespace

class Machine::Impl final : public ControlServer::Target {
 public:
  explicit Impl(BusMemory memory)
      : memory_(std::move(memory)),
        regions_(memory_),
        interrupts_(memory_.interrupt_mailbox()),
        bus_(memory_),
        control_(*this) {}
  ~Impl() override {
    power_off();
    control_.stop();
    if (line_flushes_ != nullptr) line_flushes_->bind(nullptr);
  }

  Status start(const MachineConfig& config) {
    CW_TRY(check_devices(config.devices));
    power_off_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!power_off_event_) return fail_with_errno("cannot create an eventfd");
    CW_TRY(regions_.add_boot_ram(config.ram));
    CW_TRY(add_iommus(config));
    for (const DeviceSpec& spec : config.devices)
      CW_TRY(add_device(spec, is_multi_function(config.devices, spec.bdf)));
    for (auto& device : devices_) device.function->start();
    bus_.start();
    return control_.start();
  }

  ControlServer& control() { return control_; }
  int power_off_fd() const { return power_off_event_.get(); }
  uint32_t generation() const { return generation_.load(); }

  uint32_t attach() override {
    uint32_t generation = generation_.fetch_add(1) + 1;
    memory_.header().generation.store(generation, std::memory_order_release);
    log::debug("machine", "generation {} attached", generation);
    return generation;
  }
  int bus_fd() const override { return memory_.fd(); }
  RegionMap& regions() override { return regions_; }
  FaultInjector& faults() override { return faults_; }

  std::string status() const override {
    std::string text;
    RegionMap::Totals totals = regions_.totals();
    fmt::format_to(std::back_inserter(text),
                   "machine.generation={}\nmachine.ram={}\nmachine.regions={}\nmachine.requests={}\n"
                   "machine.malformed_requests={}\n",
                   generation_.load(), totals.bytes, totals.regions, bus_.requests(), bus_.malformed());
    for (const auto& device : devices_) device.function->append_status(text, device.name);
    for (const auto& unit : remapping_.units()) unit->append_status(text, fmt::format("iommu{}", unit->index()));
    return text;
  }

  // The bus first: a register write that it is applying still needs the devices.
  void power_off() override {
    std::call_once(off_, [this] {
      bus_.stop();
      for (auto& device : devices_) device.function->stop();
      control_.request_stop();
      uint64_t one = 1;
      [[maybe_unused]] ssize_t written = ::write(power_off_event_.get(), &one, sizeof one);
    });
  }

 private:
  struct Device {
    std::string name;
    std::unique_ptr<PciFunction> function;
  };
  Status add_iommus(const MachineConfig& config) {
    if (config.translation != nullptr) {
      if (!config.iommus.empty()) return fail(EINVAL, "a machine has either a translation or iommus");
      translation_ = config.translation;
      return {};
    }
    if (config.iommus.empty()) return {};
    if (config.line_flushes != nullptr) {
      line_flushes_ = config.line_flushes;
      line_flushes_->bind(&regions_);
    }
    for (unsigned i = 0; i < config.iommus.size() && i < hw::kMaxIommus; ++i)
      CW_TRY(remapping_.add(config.iommus[i],
                            {i, memory_.iommu(i), interrupts_, regions_, faults_, config.line_flushes}));
    if (config.iommus.size() > hw::kMaxIommus) return fail(EINVAL, "more iommus than there is room for");
    for (const auto& unit : remapping_.units()) bus_.attach_registers(*unit);
    translation_ = &remapping_;
    return remapping_.write_table(memory_.firmware_table());
  }
  // A BAR lies on a multiple of its size.
  Result<PhysAddr> place_bar(uint64_t size) {
    PhysAddr base = next_bar_.aligned_up(size);
    const PhysAddr end = hw::kBarBase + hw::kBarWindowSize;
    if (base > end || size > end - base) return fail(EINVAL, "more devices than the BAR window has room for");
    next_bar_ = base + size;
    return base;
  }
  Status add_device(const DeviceSpec& spec, bool multi_function) {
    Device device;
    switch (spec.kind) {
      case DeviceKind::kDmaEngine: {
        PhysAddr bar = CW_TRY(place_bar(hw::dma_engine::kBar0Size));
        device.name = fmt::format("dma{}", dma_engines_++);
        device.function = std::make_unique<DmaEngine>(
            device.name, spec, bar, multi_function,
            DmaEngine::Environment{memory_, interrupts_, regions_, *translation_, faults_});
        break;
      }
      case DeviceKind::kNvme: {
        PhysAddr bar = CW_TRY(place_bar(NvmeController::bar_bytes(spec.nvme)));
        auto backing = CW_TRY(nvme::Backing::open(spec.nvme));
        device.name = fmt::format("nvme{}", nvme_controllers_++);
        device.function = std::make_unique<NvmeController>(
            device.name, spec, std::move(backing), bar, multi_function,
            NvmeController::Environment{memory_, interrupts_, regions_, *translation_, faults_});
        break;
      }
    }
    bus_.attach(*device.function);
    if (vtd::Unit* unit = remapping_.unit_of(spec.bdf)) unit->add_function(*device.function);
    devices_.push_back(std::move(device));
    return {};
  }

  BusMemory memory_;
  RegionMap regions_;
  InterruptSink interrupts_;
  IdentityTranslation identity_;
  FaultInjector faults_;
  vtd::Remapping remapping_;
  TranslationSource* translation_ = &identity_;
  LineFlushes* line_flushes_ = nullptr;
  std::atomic<uint32_t> generation_{0};
  UniqueFd power_off_event_;
  std::once_flag off_;
  PhysAddr next_bar_ = hw::kBarBase;
  unsigned dma_engines_ = 0;
  unsigned nvme_controllers_ = 0;
  std::vector<Device> devices_;
  Bus bus_;
  ControlServer control_;
};

Machine::Machine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Machine::~Machine() = default;

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config) {
  BusMemory memory = CW_TRY(BusMemory::create());
  auto impl = std::make_unique<Impl>(std::move(memory));
  CW_TRY(impl->start(config));
  return std::unique_ptr<Machine>(new Machine(std::move(impl)));
}

UniqueFd Machine::connect() {
  return impl_->control().connect();
}
Status Machine::listen(std::string_view abstract_name) {
  return impl_->control().listen(abstract_name);
}
void Machine::power_off() {
  impl_->power_off();
}
int Machine::power_off_fd() const {
  return impl_->power_off_fd();
}
std::string Machine::status() const {
  return impl_->status();
}
uint32_t Machine::generation() const {
  return impl_->generation();
}

}  // namespace causeway::machine
