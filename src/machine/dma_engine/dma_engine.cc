#include "machine/dma_engine/dma_engine.h"

#include <fmt/format.h>

#include <cstring>
#include <iterator>
#include <utility>

#include "base/log.h"

namespace causeway::machine {

namespace regs = hw::dma_engine;

namespace {
PciFunction::Identity identity(const DeviceSpec& spec, PhysAddr bar_base, bool multi_function) {
  return {regs::kVendor,  regs::kDevice, regs::kClassCode, bar_base,       regs::kBar0Size,
          multi_function, {},            spec.ats,         spec.pasid_bits};
}
}  // namespace

DmaEngine::DmaEngine(std::string name, const DeviceSpec& spec, PhysAddr bar_base, bool multi_function,
                     const Environment& environment)
    : PciFunction(spec.bdf, identity(spec, bar_base, multi_function), environment.bus.ecam(spec.bdf),
                  environment.interrupts),
      name_(std::move(name)),
      power_on_width_(spec.address_width),
      page_(environment.bus.bar(bar_base)),
      faults_(environment.faults),
      epoch_(page_, regs::kEpoch),
      address_width_(page_, regs::kAddressWidth),
      work_(*this, environment.regions, environment.translation, spec.bdf),
      stream_(*this, environment.regions, environment.translation, spec.bdf) {
  page_.set32(regs::kVersion, regs::kVersionValue);
  set_address_width(power_on_width_);
}

void DmaEngine::start() {
  work_.start();
  stream_.start();
}

void DmaEngine::stop() {
  work_.stop();
  stream_.stop();
}

bool DmaEngine::write_bar(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  for (unsigned number = 0; number < regs::kQueues; ++number) {
    uint32_t base = regs::queue_base(number);
    if (offset < base || offset - base >= 0x100) continue;
    Queue& queue = number == regs::kWorkQueue ? static_cast<Queue&>(work_) : stream_;
    return queue.write_register(offset - base, width, value, why);
  }
  if (width != 4) return *why = "this register is 32 bits wide", false;
  auto value32 = static_cast<uint32_t>(value);
  switch (offset) {
    case regs::kControl:
      if (regs::ControlReset::get(value32) != 0) reset();
      control_.store(value32 & static_cast<uint32_t>(regs::ControlInterrupts::kMask));
      page_.set32(regs::kControl, control_.load());
      return true;
    case regs::kAddressWidth:
      if (value32 != 32 && value32 != 40 && value32 != 64)
        return *why = "the address width is not 32, 40 or 64", false;
      set_address_width(value32);
      return true;
    default:
      return *why = "no such writable register", false;
  }
}

uint64_t DmaEngine::read_bar(uint32_t offset, uint32_t width) {
  if (offset == regs::kIntCause && width == 4) return cause_.exchange(0);
  switch (width) {
    case 8:
      return page_.get64(offset);
    case 4:
      return page_.get32(offset);
    default:
      return page_.get32(offset & ~3u) >> (8 * (offset & 3)) & ((1u << (8 * width)) - 1);
  }
}

void DmaEngine::on_bus_master(bool on) {
  work_.set_bus_master(on);
  stream_.set_bus_master(on);
  log::debug("machine", "{}: bus mastering is {}", name_, on ? "on" : "off");
}

void DmaEngine::on_ats(bool on) {
  work_.set_ats(on);
  stream_.set_ats(on);
}

void DmaEngine::on_completions(unsigned queue) {
  cause_.fetch_or(1u << queue);
  if (regs::ControlInterrupts::get(control_.load()) != 0) raise_msi();
}

// On the bus thread, so that it is over when the write has been applied.
void DmaEngine::reset() {
  control_.store(0);
  work_.reset();
  stream_.reset();
  cause_.store(0);
  set_address_width(power_on_width_);
  epoch_.add(1);
  log::debug("machine", "{}: reset, epoch {}", name_, epoch_.get());
}

void DmaEngine::set_address_width(unsigned bits) {
  address_width_.set(bits);
  work_.set_address_width(bits);
  stream_.set_address_width(bits);
}

void DmaEngine::append_status(std::string& text, const std::string& name) const {
  fmt::format_to(std::back_inserter(text), "{}.bdf={}\n{}.epoch={}\n{}.address_width={}\n", name, bdf(), name,
                 epoch_.get(), name, address_width_.get());
  work_.append_status(text, name + ".work");
  stream_.append_status(text, name + ".stream");
}

}  // namespace causeway::machine
