#include "machine/nvme/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "hw/pci.h"

namespace causeway::machine {

namespace regs = hw::nvme;

namespace {

constexpr uint32_t kPowerOnTimeout = 2;  // CAP.TO, in 500 ms

PciFunction::Identity identity(const DeviceSpec& spec, PhysAddr bar_base, bool multi_function, const BusMemory& bus) {
  const NvmeOptions& options = spec.nvme;
  return {regs::kVendor,
          regs::kDevice,
          regs::kClassCode,
          bar_base,
          NvmeController::bar_bytes(options),
          multi_function,
          {options.queues + 1, regs::kMsixTable, regs::kMsixPba, bus.bar(bar_base)},
          spec.ats,
          spec.pasid_bits};
}

bool is_within(uint32_t offset, uint32_t base, uint32_t size) {
  return offset >= base && offset - base < size;
}

}  // namespace

uint64_t NvmeController::bar_bytes(const NvmeOptions& options) {
  if (options.cmb == 0) return regs::kBarMinimum;
  return 2 * std::bit_ceil(std::max<uint64_t>(options.cmb, regs::kBarMinimum));
}

NvmeController::NvmeController(std::string name, const DeviceSpec& spec,
                               std::unique_ptr<nvme::Backing> backing, PhysAddr bar_base, bool multi_function,
                               const Environment& environment)
    : PciFunction(spec.bdf, identity(spec, bar_base, multi_function, environment.bus),
                  environment.bus.ecam(spec.bdf), environment.interrupts),
      name_(std::move(name)),
      options_(spec.nvme),
      buffer_offset_(static_cast<uint32_t>(bar_bytes(options_) / 2)),
      page_(environment.bus.bar(bar_base)),
      buffer_(options_.cmb == 0 ? nullptr : environment.bus.bar(bar_base) + buffer_offset_),
      regions_(environment.regions),
      faults_(environment.faults),
      backing_(std::move(backing)),
      epoch_(page_, regs::kCwEpoch) {
  nvme::Host& host = *this;
  nvme::SubmissionQueue::Bus bus{environment.regions, environment.translation, spec.bdf};
  nvme::SubmissionQueue::Behaviour behaviour{options_.shuffle, uint64_t{options_.latency_us} * 1000};
  for (unsigned i = 0; i <= options_.queues; ++i)
    completions_.push_back(std::make_unique<nvme::CompletionQueue>(i, host));
  admin_ = std::make_unique<nvme::AdminExecutor>(nvme::AdminExecutor::Parts{
      submissions_, completions_, fmt::format("CW{:04x}{}", bdf().value(), name_),
      backing_->size() / options_.block_size, options_.block_size, backing_->memory() == nullptr});
  submissions_.push_back(
      std::make_unique<nvme::SubmissionQueue>(0, host, *admin_, bus, nvme::SubmissionQueue::Behaviour{}));
  for (unsigned i = 1; i <= options_.queues; ++i) {
    io_.push_back(std::make_unique<nvme::IoExecutor>(*backing_, options_.block_size, faults_));
    submissions_.push_back(std::make_unique<nvme::SubmissionQueue>(i, host, *io_.back(), bus, behaviour));
  }
  if (buffer_ != nullptr) {
    for (auto& queue : submissions_) queue->port().set_own_memory(buffer_, options_.cmb);
  }

  page_.set64(regs::kCap, regs::CapMqes::make(regs::kMaxEntries - 1) | regs::CapCqr::make(1) |
                              regs::CapTo::make(kPowerOnTimeout) | regs::CapCss::make(1) |
                              regs::CapCmbs::make(buffer_ != nullptr));
  page_.set32(regs::kVs, regs::kVersion14);
  page_.set32(regs::kCwMagic, regs::kCwMagicValue);
  page_.set32(regs::kCwVersion, 1);
  page_.set32(regs::kCwIoQueues, options_.queues);
}

void NvmeController::start() {
  for (auto& queue : submissions_) queue->start();
}

void NvmeController::stop() {
  for (auto& queue : submissions_) queue->stop();
}

bool NvmeController::write_bar(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  if (is_within(offset, regs::kDoorbells, 8 * (options_.queues + 1)))
    return write_doorbell(offset, width, value, why);
  if (is_within(offset, regs::kMsixTable, hw::pci::kMsixEntrySize * (options_.queues + 1)))
    return write_msix_table(offset - regs::kMsixTable, width, value, why);
  if (offset < regs::kDoorbells) return write_register(offset, width, value, why);
  if (buffer_ != nullptr && offset >= buffer_offset_ && offset - buffer_offset_ + width <= options_.cmb)
    return write_buffer(offset - buffer_offset_, width, value);
  return *why = "no such writable register", false;
}

bool NvmeController::write_buffer(uint32_t offset, uint32_t width, uint64_t value) {
  auto store = [&]<typename T>(T word) {
    std::atomic_ref<T>(*reinterpret_cast<T*>(buffer_ + offset)).store(word, std::memory_order_release);
  };
  switch (width) {
    case 1:
      store(static_cast<uint8_t>(value));
      break;
    case 2:
      store(static_cast<uint16_t>(value));
      break;
    case 4:
      store(static_cast<uint32_t>(value));
      break;
    default:
      store(value);
  }
  return true;
}

bool NvmeController::write_doorbell(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  if (width != 4 || offset % 4 != 0) return *why = "a doorbell is 32 bits wide", false;
  if (!is_running()) return *why = "a doorbell of a controller that is not enabled, or has failed", false;
  value &= 0xffff'ffff;
  unsigned queue = (offset - regs::kDoorbells) / 8;
  if (offset == regs::sq_doorbell(queue)) return submissions_[queue]->set_tail(value, why);
  nvme::CompletionQueue& completions = *completions_[queue];
  if (!completions.set_head(value, why)) return false;
  if (!completions.take_waiters()) return true;
  for (auto& submissions : submissions_) {
    if (submissions->completions() == &completions) submissions->ring_bell();
  }
  return true;
}

bool NvmeController::write_wide(uint64_t* reg, uint32_t reg_offset, uint32_t offset, uint32_t width,
                                uint64_t value, const char** why) {
  if (width == 8) {
    *reg = value;
  } else if (width == 4) {
    unsigned shift = offset == reg_offset ? 0 : 32;
    *reg = (*reg & ~(uint64_t{0xffff'ffff} << shift)) | (value & 0xffff'ffff) << shift;
  } else {
    return *why = "this register is written in 4 or 8 bytes", false;
  }
  page_.set64(reg_offset, *reg);
  return true;
}

bool NvmeController::write_register(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  const auto value32 = static_cast<uint32_t>(value);
  const bool is_queue_setting = offset >= regs::kAqa && offset < regs::kAcq + 8;
  if (is_queue_setting && regs::CcEn::get(configuration_) != 0)
    return *why = "this register is fixed while the controller is enabled", false;
  switch (offset) {
    case regs::kAsq:
    case regs::kAsq + 4:
      return write_wide(&asq_, regs::kAsq, offset, width, value, why);
    case regs::kAcq:
    case regs::kAcq + 4:
      return write_wide(&acq_, regs::kAcq, offset, width, value, why);
    case regs::kCmbmsc:
    case regs::kCmbmsc + 4:
      if (buffer_ == nullptr) return *why = "there is no controller memory buffer", false;
      if (!write_wide(&cmbmsc_, regs::kCmbmsc, offset, width, value, why)) return false;
      update_buffer_registers();
      return true;
    default:
      break;
  }
  if (width != 4) return *why = "this register is 32 bits wide", false;
  switch (offset) {
    case regs::kIntms:
    case regs::kIntmc: {
      uint32_t mask = interrupt_mask_.load();
      mask = offset == regs::kIntms ? mask | value32 : mask & ~value32;
      interrupt_mask_.store(mask);
      page_.set32(regs::kIntms, mask);
      page_.set32(regs::kIntmc, mask);
      return true;
    }
    case regs::kCc:
      return write_configuration(value32);
    case regs::kAqa:
      aqa_ = value32 & static_cast<uint32_t>(regs::AqaAsqs::kMask | regs::AqaAcqs::kMask);
      page_.set32(regs::kAqa, aqa_);
      return true;
    default:
      return *why = "no such writable register", false;
  }
}

bool NvmeController::write_configuration(uint32_t value) {
  const bool was_enabled = regs::CcEn::get(configuration_) != 0;
  const bool is_enabled = regs::CcEn::get(value) != 0;
  configuration_ = value;
  page_.set32(regs::kCc, value);
  if (was_enabled && !is_enabled) reset();
  if (!was_enabled && is_enabled) enable();
  // Everything a command has ended with is in the file already, so there is nothing to wait for but the
  // flush.
  if (regs::CcShn::get(value) != 0) {
    if (auto flushed = backing_->flush(); !flushed)
      log::warn("machine", "{}: shutdown: {}", name_, to_string(flushed.error()));
    set_status(static_cast<uint32_t>(regs::CstsShst::make(2)));
  }
  return true;
}

void NvmeController::enable() {
  const uint32_t sq_entries = static_cast<uint32_t>(regs::AqaAsqs::get(aqa_)) + 1;
  const uint32_t cq_entries = static_cast<uint32_t>(regs::AqaAcqs::get(aqa_)) + 1;
  uint64_t end;
  const char* wrong = nullptr;
  if (regs::CcCss::get(configuration_) != 0 || regs::CcMps::get(configuration_) != 0 ||
      regs::CcAms::get(configuration_) != 0) {
    wrong = "CC asks for a command set, page size or arbitration that CAP does not offer";
  } else if (sq_entries < 2 || cq_entries < 2) {
    wrong = "AQA gives a queue of less than two entries";
  } else if (!is_aligned(asq_, kPageSize) || !is_aligned(acq_, kPageSize) ||
             !checked_add(asq_, sq_entries * sizeof(regs::Command), &end) ||
             !checked_add(acq_, cq_entries * sizeof(regs::Completion), &end)) {
    wrong = "ASQ or ACQ is not the address of a page";
  }
  if (wrong != nullptr) return stop_fatally(regs::FatalReason::kSettings, 0, wrong);
  completions_[0]->create({.base = acq_, .entries = cq_entries, .vector = 0, .interrupts = true});
  submissions_[0]->create(asq_, sq_entries, *completions_[0]);
  set_status(static_cast<uint32_t>(regs::CstsRdy::make(1)));
  log::debug("machine", "{}: enabled", name_);
}

// On the bus thread, so that it is over when the write has been applied. The admin queue first: nobody makes
// or removes a queue after it.
void NvmeController::reset() {
  status_.fetch_and(~static_cast<uint32_t>(regs::CstsRdy::kMask));
  for (auto& queue : submissions_) queue->reset();
  for (auto& queue : completions_) queue->remove();
  admin_->reset();
  interrupt_mask_.store(0);
  page_.set32(regs::kIntms, 0);
  page_.set32(regs::kIntmc, 0);
  page_.set32(regs::kCwFatalReason, 0);
  page_.set32(regs::kCwFatalQueue, 0);
  epoch_.add(1);
  status_.store(0);
  page_.set32(regs::kCsts, 0);
  log::debug("machine", "{}: reset, epoch {}", name_, epoch_.get());
}

void NvmeController::update_buffer_registers() {
  const bool visible = regs::CmbmscCre::get(cmbmsc_) != 0;
  page_.set32(regs::kCmbloc,
              visible ? static_cast<uint32_t>(regs::CmblocOfst::make(buffer_offset_ / kPageSize)) : 0);
  page_.set32(regs::kCmbsz, visible
                                ? static_cast<uint32_t>(regs::CmbszSqs::make(1) | regs::CmbszCqs::make(1) |
                                                        regs::CmbszLists::make(1) | regs::CmbszRds::make(1) |
                                                        regs::CmbszWds::make(1) |
                                                        regs::CmbszSz::make(options_.cmb / kPageSize))
                                : 0);
  const uint64_t base = regs::CmbmscCba::get(cmbmsc_) << kPageShift;
  uint64_t end;
  const bool wraps = !checked_add(base, options_.cmb, &end);
  const bool is_claimed = visible && regs::CmbmscCmse::get(cmbmsc_) != 0;
  page_.set32(regs::kCmbsts, static_cast<uint32_t>(regs::CmbstsCbai::make(is_claimed && wraps)));
  for (auto& queue : submissions_)
    queue->port().set_own_base(is_claimed && !wraps ? DmaAddr(base) : kDmaMappingError);
}

void NvmeController::set_status(uint32_t bits) {
  status_.fetch_or(bits);
  page_.set_bits(regs::kCsts, bits);
}

bool NvmeController::is_running() const {
  constexpr uint64_t kBoth = regs::CstsRdy::kMask | regs::CstsCfs::kMask;
  return (status_.load(std::memory_order_relaxed) & kBoth) == regs::CstsRdy::kMask;
}

void NvmeController::stop_fatally(regs::FatalReason reason, unsigned queue, const std::string& why) {
  // The reason first: whoever sees the bit finds it.
  log::warn("machine", "{}: fatal: queue {}: {}", name_, queue, why);
  page_.set32(regs::kCwFatalReason, static_cast<uint32_t>(reason));
  page_.set32(regs::kCwFatalQueue, queue);
  set_status(static_cast<uint32_t>(regs::CstsCfs::make(1)));
}

void NvmeController::interrupt(unsigned vector) {
  if (!msix_enabled() && (interrupt_mask_.load(std::memory_order_relaxed) & 1) != 0) return;
  interrupts_raised_.fetch_add(1, std::memory_order_relaxed);
  raise_interrupt(vector);
}

uint64_t NvmeController::read_bar(uint32_t offset, uint32_t width) {
  switch (width) {
    case 8:
      return page_.get64(offset);
    case 4:
      return page_.get32(offset);
    default:
      return page_.get32(offset & ~3u) >> (8 * (offset & 3)) & ((1u << (8 * width)) - 1);
  }
}

void NvmeController::on_bus_master(bool on) {
  for (auto& queue : submissions_) queue->set_bus_master(on);
  log::debug("machine", "{}: bus mastering is {}", name_, on ? "on" : "off");
}

void NvmeController::on_ats(bool on) {
  for (auto& queue : submissions_) queue->port().set_ats(on);
}

void NvmeController::on_decodes_memory(bool on) {
  if (buffer_ == nullptr) return;
  if (on) {
    regions_.add_device_memory(bar_base() + buffer_offset_, buffer_, options_.cmb);
  } else {
    regions_.remove_device_memory(bar_base() + buffer_offset_);
  }
}

void NvmeController::append_status(std::string& text, const std::string& name) const {
  nvme::SubmissionQueue::Totals totals;
  for (const auto& queue : submissions_) {
    nvme::SubmissionQueue::Totals one = queue->totals();
    totals.completed += one.completed;
    totals.errors += one.errors;
    totals.refused += one.refused;
    totals.in_flight += one.in_flight;
  }
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  for (const auto& io : io_) {
    bytes_read += io->bytes_read();
    bytes_written += io->bytes_written();
  }
  const uint32_t status = status_.load();
  auto line = [&](const char* what, uint64_t value) {
    fmt::format_to(std::back_inserter(text), "{}.{}={}\n", name, what, value);
  };
  fmt::format_to(std::back_inserter(text), "{}.bdf={}\n", name, bdf());
  line("ready", regs::CstsRdy::get(status));
  line("fatal", regs::CstsCfs::get(status));
  line("resets", epoch_.get());
  line("queues", options_.queues);
  line("size", backing_->size());
  line("block_size", options_.block_size);
  line("cmb", options_.cmb);
  line("commands", totals.completed);
  line("errors", totals.errors);
  line("refused", totals.refused);
  line("in_flight", totals.in_flight);
  line("bytes_read", bytes_read);
  line("bytes_written", bytes_written);
  line("interrupts", interrupts_raised_.load());
}

}  // namespace causeway::machine
