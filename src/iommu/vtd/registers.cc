#include "iommu/vtd/registers.h"

#include <fmt/format.h>

#include <thread>

#include "base/log.h"
#include "base/point.h"
#include "sync/deadline.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

namespace {

constexpr uint32_t kSticky = GlobalTranslation::kMask | GlobalQueue::kMask | GlobalInterruptRemapping::kMask;

// Reads until the condition holds. A register that reads all ones belongs to a machine that is gone.
template <typename Value, typename Read>
Status poll_register(const Read& read, const std::function<bool(Value)>& condition, std::chrono::nanoseconds limit,
                     const std::string& unit, const char* what) {
  auto deadline = sync::Deadline::after(limit);
  while (true) {
    Value value = read();
    if (value == static_cast<Value>(~Value{0})) return fail(EIO, "the remapping unit does not answer");
    if (condition(value)) return {};
    if (deadline.has_passed()) {
      log::error("iommu", "{}: {} is not done after {} ms, the register reads {:#x}", unit, what,
                 limit.count() / 1000000, value);
      return fail(ETIMEDOUT, "the remapping unit does not carry out a command");
    }
    std::this_thread::yield();
  }
}

}  // namespace

std::string Capabilities::describe() const {
  std::string text = fmt::format("{}{}-bit addresses, {} domains", scalable() ? "scalable, " : "",
                                 widest() == 0 ? 0 : bits_of_width(widest()), domains());
  auto add = [&](bool has, const char* what) {
    if (has) text += fmt::format(", {}", what);
  };
  add(caching_mode(), "caching mode");
  add(write_buffer_flush(), "write buffer");
  add(!coherent(), "not coherent");
  add(queued_invalidation(), "queue");
  add(page_selective(), "page selective");
  add(pass_through(), "pass-through");
  add(first_stage(), "first stage");
  add(second_stage(), "second stage");
  add(device_tlb(), "device-TLB");
  add(page_requests(), "page requests");
  return text;
}

Result<std::unique_ptr<UnitRegisters>> UnitRegisters::create(platform::MmioWindow window, std::string name) {
  uint64_t cap = window.read64(kCap);
  uint64_t ecap = window.read64(kEcap);
  if ((cap == ~uint64_t{0} && ecap == ~uint64_t{0}) || (cap == 0 && ecap == 0))
    return fail(ENODEV, "no remapping unit answers there");
  Capabilities caps(cap, ecap);
  if (caps.fault_record_offset() + uint64_t{caps.fault_records()} * kFaultRecordBytes > window.size() ||
      caps.iotlb_offset() + 16 > window.size())
    return fail(EINVAL, "the remapping unit has registers beyond its page");
  uint32_t on = window.read32(kGlobalStatus) & kSticky;
  return std::unique_ptr<UnitRegisters>(new UnitRegisters(window, std::move(name), caps, on));
}

UnitRegisters::UnitRegisters(platform::MmioWindow window, std::string name, Capabilities caps, uint32_t sticky)
    : window_(window), name_(std::move(name)), caps_(caps), sticky_(sticky) {}

Status UnitRegisters::poll(uint32_t offset, const std::function<bool(uint32_t)>& condition, const char* what) const {
  return poll_register<uint32_t>([&] { return window_.read32(offset); }, condition, limit_, name_, what);
}

Status UnitRegisters::poll64(uint32_t offset, const std::function<bool(uint64_t)>& condition, const char* what) const {
  return poll_register<uint64_t>([&] { return window_.read64(offset); }, condition, limit_, name_, what);
}

Status UnitRegisters::command(uint32_t one_shot, uint32_t set, uint32_t clear, const char* what) {
  sync::SpinLockGuard guard(lock_);
  sticky_ = (sticky_ | set) & ~clear;
  window_.write32(kGlobalCommand, sticky_ | one_shot);
  // The write buffer's bit goes when it is done, all others come.
  uint32_t want_set = set | (one_shot & ~static_cast<uint32_t>(GlobalWriteBufferFlush::kMask));
  uint32_t want_clear = clear | (one_shot & static_cast<uint32_t>(GlobalWriteBufferFlush::kMask));
  Status done = poll(
      kGlobalStatus,
      [&](uint32_t status) { return (status & want_set) == want_set && (status & want_clear) == 0; }, what);
  // The next command must not turn on, or off, what the unit has refused.
  if (!done) sticky_ = window_.read32(kGlobalStatus) & kSticky;
  return done;
}

Status UnitRegisters::set_root(PhysAddr root, TableMode mode) {
  window_.write64(kRootTable, root.value() | RootScalable::make(mode == TableMode::kScalable ? 1 : 0));
  CW_POINT("iommu.vtd.set_root.before_latch");
  CW_TRY(command(GlobalSetRoot::kMask, 0, 0, "the new root table"));
  CW_POINT("iommu.vtd.set_root.latched");
  return {};
}

Result<UnitRegisters::Root> UnitRegisters::root() const {
  uint64_t value = window_.read64(kRootTable);
  uint64_t mode = RootMode::get(value);
  if (mode > 1) return fail(EINVAL, "the root table is in a reserved mode");
  return Root{PhysAddr(value & kAddressMask), mode == 1 ? TableMode::kScalable : TableMode::kLegacy};
}

Status UnitRegisters::enable_translation() {
  return command(0, GlobalTranslation::kMask, 0, "enabling translation");
}

Status UnitRegisters::disable_translation() {
  return command(0, 0, GlobalTranslation::kMask, "disabling translation");
}

bool UnitRegisters::translation_enabled() const {
  return GlobalTranslation::get(window_.read32(kGlobalStatus)) != 0;
}

Status UnitRegisters::enable_queue(uint64_t address_register) {
  window_.write64(kQueueTail, 0);
  window_.write64(kQueueAddress, address_register);
  return command(0, GlobalQueue::kMask, 0, "enabling the invalidation queue");
}

Status UnitRegisters::disable_queue() {
  return command(0, 0, GlobalQueue::kMask, "disabling the invalidation queue");
}

bool UnitRegisters::queue_enabled() const { return GlobalQueue::get(window_.read32(kGlobalStatus)) != 0; }

Status UnitRegisters::flush_write_buffer() {
  if (!caps_.write_buffer_flush()) return {};
  return command(GlobalWriteBufferFlush::kMask, 0, 0, "flushing the write buffer");
}

Status UnitRegisters::disable_protected_memory() {
  if (!caps_.protected_memory()) return {};
  constexpr uint32_t kEnable = uint32_t{1} << 31;
  constexpr uint32_t kActive = 1;
  window_.write32(kProtectedEnable, window_.read32(kProtectedEnable) & ~kEnable);
  return poll(kProtectedEnable, [](uint32_t value) { return (value & kActive) == 0; }, "opening protected memory");
}

Status UnitRegisters::quiesce() {
  window_.write32(kFaultEventControl, EventMask::kMask);
  window_.write32(kPageRequestControl, EventMask::kMask);
  if (caps_.page_requests()) {
    window_.write64(kPageRequestHead, 0);
    window_.write64(kPageRequestTail, 0);
    window_.write64(kPageRequestAddress, 0);
  }
  if (!caps_.queued_invalidation() || !queue_enabled()) return {};
  // What is in the queue is worth finishing: it may be what keeps a freed page from being used. A queue that has
  // stopped on an error will not.
  constexpr uint32_t kStopped = FaultQueueError::kMask | FaultTimeoutError::kMask | FaultCompletionError::kMask;
  CW_TRY(poll64(
      kQueueHead,
      [&](uint64_t head) {
        return head == window_.read64(kQueueTail) || (window_.read32(kFaultStatus) & kStopped) != 0;
      },
      "the old invalidation queue"));
  return disable_queue();
}

}  // namespace causeway::iommu::vtd
