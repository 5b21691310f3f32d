#include "machine/dma_engine/queue.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <iterator>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "hw/futex.h"

namespace causeway::machine {

namespace regs = hw::dma_engine;

namespace {
// How long a thread that has just worked looks for more before it sleeps.
constexpr uint64_t kSpinNs = 10'000;

constexpr uint64_t kMaxRingBytes = sizeof(regs::Descriptor) << regs::kMaxRingLog2;

RegisterPage block_of(QueueOwner& owner, unsigned number) {
  return owner.registers().block(regs::queue_base(number));
}
}  // namespace

Queue::Queue(unsigned number, QueueOwner& owner, RegionMap& regions, TranslationSource& translation, Bdf requester)
    : control_(block_of(owner, number), regs::kQueueControl),
      rate_(block_of(owner, number), regs::kRate),
      record_size_(block_of(owner, number), regs::kRecordSize),
      dropped_(block_of(owner, number), regs::kDropped),
      starved_(block_of(owner, number), regs::kStarved),
      next_sequence_(block_of(owner, number), regs::kNextSequence),
      max_gap_(block_of(owner, number), regs::kMaxGap),
      max_late_(block_of(owner, number), regs::kMaxLate),
      number_(number),
      owner_(owner),
      page_(block_of(owner, number)),
      port_(regions, translation, requester),
      tail_(page_, regs::kTail),
      comp_head_(page_, regs::kCompHead),
      ring_base_(page_, regs::kRingBase),
      comp_base_(page_, regs::kCompBase),
      ring_log2_(page_, regs::kRingLog2),
      head_(page_, regs::kHead),
      comp_tail_(page_, regs::kCompTail),
      completed_(page_, regs::kCompleted),
      bytes_(page_, regs::kBytes),
      refused_(page_, regs::kRefused) {
  ring_log2_.set(regs::kMinRingLog2);
  record_size_.set(sizeof(regs::RecordHeader));
}

Queue::~Queue() {
  stop();
}

void Queue::start() {
  thread_ = std::thread([this] { run(); });
}

void Queue::stop() {
  stop_.store(true);
  attention_.fetch_add(1);
  ring_bell();
  if (thread_.joinable()) thread_.join();
}

void Queue::ring_bell() {
  bell_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeps_.load(std::memory_order_seq_cst) != 0) hw::futex_wake(bell_);
}

void Queue::run() {
  // A stream is paced in microseconds; the default slack of a sleeping thread is 50 of them.
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
  uint64_t spin_until = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    uint32_t bell = bell_.load(std::memory_order_seq_cst);
    if (uint32_t wanted = attention_.load(); wanted != 0) {
      hw::futex_wait(attention_, wanted, 1'000'000);
      continue;
    }
    Turn turn;
    bool signal;
    {
      std::lock_guard lock(mutex_);
      turn = serve();
      signal = std::exchange(unsignalled_, false);
      if (signal) owner_.on_completions(number_);
    }
    uint64_t now = monotonic_ns();
    if (turn.at == Turn::kNow || signal) spin_until = now + kSpinNs;
    if (turn.at == Turn::kNow || turn.at <= now) continue;
    while (monotonic_ns() < spin_until && bell_.load(std::memory_order_relaxed) == bell &&
           monotonic_ns() < turn.at)
      hw::cpu_relax();
    sleeps_.store(1, std::memory_order_seq_cst);
    if (bell_.load(std::memory_order_seq_cst) == bell) {
      if (turn.at == Turn::kBell) {
        hw::futex_wait(bell_, bell, 1'000'000'000);
      } else {
        hw::futex_wait_until(bell_, bell, turn.at);
      }
    }
    sleeps_.store(0, std::memory_order_relaxed);
  }
}

template <typename Change>
auto Queue::with_attention(const Change& change) {
  attention_.fetch_add(1);
  auto result = [&] {
    std::lock_guard lock(mutex_);
    return change();
  }();
  attention_.fetch_sub(1);
  hw::futex_wake(attention_);
  ring_bell();
  return result;
}

bool Queue::write_register(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  if (width == 4) value &= 0xffff'ffff;
  auto index = static_cast<uint32_t>(value);
  switch (offset) {
    case regs::kTail:
      if (width != 4) break;
      if (index - head_.get() > entries())
        return *why = "the tail lies more than a ring beyond the head", false;
      tail_.set(index);
      ring_bell();
      return true;
    case regs::kCompHead:
      if (width != 4) break;
      if (comp_tail_.get() - index > comp_tail_.get() - comp_head_.get())
        return *why = "the completion head is not between its old value and the completion tail", false;
      comp_head_.set(index);
      ring_bell();
      return true;
    default:
      return with_attention([&] { return write_setup_register(offset, width, value, why); });
  }
  *why = "this register is 32 bits wide";
  return false;
}

bool Queue::write_setup_register(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  bool is_base = offset == regs::kRingBase || offset == regs::kCompBase;
  if (width != (is_base ? 8u : 4u)) return *why = "wrong width for this register", false;
  bool is_fixed = is_base || offset == regs::kRingLog2 || offset == regs::kRecordSize;
  if (is_fixed && is_enabled()) return *why = "this register is fixed while the queue is enabled", false;
  auto value32 = static_cast<uint32_t>(value);
  switch (offset) {
    case regs::kRingBase:
    case regs::kCompBase:
      if (!is_aligned(value, regs::kRingAlignment)) return *why = "a ring is not aligned to 64 bytes", false;
      if (value > ~uint64_t{0} - kMaxRingBytes) return *why = "a ring wraps around the address space", false;
      (offset == regs::kRingBase ? ring_base_ : comp_base_).set(value);
      return true;
    case regs::kRingLog2:
      if (value32 < regs::kMinRingLog2 || value32 > regs::kMaxRingLog2)
        return *why = "log2 of the ring's entries is not in 1..16", false;
      if (head_.get() != tail_.get() || comp_head_.get() != comp_tail_.get())
        return *why = "a ring in use cannot change its size", false;
      ring_log2_.set(value32);
      return true;
    case regs::kRecordSize:
      if (value32 < sizeof(regs::RecordHeader) || value32 > regs::kMaxRecordSize)
        return *why = "the record size is not in 32..1048576", false;
      record_size_.set(value32);
      return true;
    case regs::kQueueControl:
      control_.set(value32 & static_cast<uint32_t>(regs::QueueEnable::kMask | regs::OverrunHold::kMask));
      return true;
    default:
      *why = "no such writable register";
      return write_own_register(offset, value32, why);
  }
}

void Queue::reset() {
  with_attention([&] {
    forget();
    for (auto* counter : {&control_, &rate_, &tail_, &comp_head_, &head_, &comp_tail_}) counter->set(0);
    for (auto* counter : {&ring_base_, &comp_base_, &completed_, &bytes_, &refused_, &dropped_, &starved_,
                          &next_sequence_, &max_gap_, &max_late_})
      counter->set(0);
    ring_log2_.set(regs::kMinRingLog2);
    record_size_.set(sizeof(regs::RecordHeader));
    halted_ = false;
    unsignalled_ = false;
    owner_.registers().clear_bits(regs::kDeviceStatus, (1u | 1u << 8) << number_);
    return true;
  });
}

void Queue::set_bus_master(bool on) {
  port_.set_bus_master(on);
  ring_bell();
}

bool Queue::has_buffer() const {
  return tail_.get() != head_.get() && comp_tail_.get() - comp_head_.get() < entries();
}

DmaAddr Queue::slot(uint64_t base, uint32_t index, uint32_t entry_size) const {
  return DmaAddr(base) + uint64_t{index & (entries() - 1)} * entry_size;
}

std::optional<regs::Descriptor> Queue::take_descriptor() {
  regs::Descriptor descriptor;
  DmaAddr address = slot(ring_base_.get(), head_.get(), sizeof descriptor);
  DmaStatus status = port_.read(address, &descriptor, sizeof descriptor);
  if (status != DmaStatus::kOk) {
    halt("descriptor ring", address, status);
    return std::nullopt;
  }
  head_.add(1);
  return descriptor;
}

bool Queue::complete(const regs::Completion& completion) {
  DmaAddr address = slot(comp_base_.get(), comp_tail_.get(), sizeof completion);
  DmaStatus status = port_.write(address, &completion, sizeof completion);
  if (status != DmaStatus::kOk) {
    halt("completion ring", address, status);
    return false;
  }
  if (completion.status == regs::TransferStatus::kOk) {
    completed_.add(1);
    bytes_.add(completion.length);
  } else {
    refused_.add(1);
  }
  comp_tail_.add(1);
  unsignalled_ = true;
  return true;
}

void Queue::halt(const char* what, DmaAddr address, DmaStatus status) {
  if (status == DmaStatus::kBusMasterOff) return;
  halted_ = true;
  // The reason first: whoever sees the bit finds the reason in the log.
  log::warn("machine", "{}: queue {} halted: {} at {}: {}", owner_.name(), number_, what, address,
            name_of(status));
  owner_.registers().set_bits(regs::kDeviceStatus, 1u << 8 << number_);
}

void Queue::set_busy(bool busy) {
  uint32_t bit = 1u << number_;
  if (busy) {
    owner_.registers().set_bits(regs::kDeviceStatus, bit);
  } else {
    owner_.registers().clear_bits(regs::kDeviceStatus, bit);
  }
}

void Queue::append_status(std::string& text, const std::string& prefix) const {
  auto line = [&](const char* name, uint64_t value) {
    fmt::format_to(std::back_inserter(text), "{}.{}={}\n", prefix, name, value);
  };
  line("enabled", is_enabled());
  line("halted", halted_);
  line("completed", completed_.get());
  line("bytes", bytes_.get());
  line("refused", refused_.get());
  line("tail", tail_.get());
  line("head", head_.get());
  line("comp_tail", comp_tail_.get());
  line("comp_head", comp_head_.get());
  if (number_ != regs::kStreamQueue) return;
  line("rate", rate_.get());
  line("dropped", dropped_.get());
  line("starved_ns", starved_.get());
  line("next_sequence", next_sequence_.get());
  line("max_gap_ns", max_gap_.get());
  line("max_late_ns", max_late_.get());
}

}  // namespace causeway::machine
