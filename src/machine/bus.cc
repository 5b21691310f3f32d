#include "machine/bus.h"

#include <sched.h>

#include "base/clock.h"
#include "base/log.h"
#include "hw/futex.h"
#include "hw/pci.h"
#include "hw/shared_words.h"

namespace causeway::machine {
namespace {

constexpr uint64_t kSpinNs = 20'000;
// A kernel killed between its store of the tail and its wake-up leaves the machine asleep: not for longer
// than this.
constexpr uint64_t kMaxSleepNs = 20'000'000;

constexpr bool is_valid_width(uint32_t width) {
  return width == 1 || width == 2 || width == 4 || width == 8;
}

constexpr bool in_ecam(uint64_t address) {
  return address >= hw::kEcamBase.value() && address - hw::kEcamBase.value() < hw::kEcamSize;
}

}  // namespace

void Bus::start() {
  thread_ = std::thread([this] { run(); });
}

void Bus::stop() {
  stop_.store(true);
  hw::futex_wake(ring_.tail);
  if (thread_.joinable()) thread_.join();
}

void Bus::run() {
  while (!stop_.load(std::memory_order_relaxed)) {
    uint32_t pending = ring_.tail.load(std::memory_order_acquire) - head_;
    if (pending == 0) {
      wait_for_requests();
      continue;
    }
    if (pending > hw::kRequestSlots) {
      if (complaints_.next())
        log::warn("machine", "request ring: tail covers {} entries, want at most {}; dropping them", pending,
                  hw::kRequestSlots);
      head_ += pending;
      publish_head();
      continue;
    }
    for (; pending > 0; --pending) {
      apply(hw::load_words(&ring_.slot[head_ % hw::kRequestSlots]));
      ++head_;
      ring_.head.store(head_, std::memory_order_release);
    }
    publish_head();
  }
}

void Bus::publish_head() {
  ring_.head.store(head_, std::memory_order_seq_cst);
  if (ring_.kernel_sleeps.load(std::memory_order_seq_cst) != 0) hw::futex_wake(ring_.head);
}

void Bus::wait_for_requests() {
  uint64_t end = monotonic_ns() + kSpinNs;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ring_.tail.load(std::memory_order_relaxed) != head_) return;
      hw::cpu_relax();
    }
    // A device's thread may be waiting for this very CPU, and the kernel for what it does.
    ::sched_yield();
  } while (monotonic_ns() < end);
  ring_.machine_sleeps.store(1, std::memory_order_seq_cst);
  if (ring_.tail.load(std::memory_order_seq_cst) == head_ && !stop_.load())
    hw::futex_wait(ring_.tail, head_, kMaxSleepNs);
  ring_.machine_sleeps.store(0, std::memory_order_relaxed);
}

void Bus::apply(const hw::Request& request) {
  requests_.fetch_add(1, std::memory_order_relaxed);
  bool is_read = request.op == hw::RequestOp::kRead;
  if (!is_read && request.op != hw::RequestOp::kWrite) return complain(request, "unknown operation");
  if (!is_valid_width(request.width) || request.address % request.width != 0) {
    complain(request, "the width is not 1, 2, 4 or 8 bytes, naturally aligned");
    if (is_read) ring_.read_result.store(~uint64_t{0}, std::memory_order_relaxed);
    return;
  }
  if (is_read) {
    ring_.read_result.store(read(request), std::memory_order_relaxed);
  } else {
    write(request);
  }
}

void Bus::write(const hw::Request& request) {
  if (in_ecam(request.address)) {
    uint64_t offset = request.address - hw::kEcamBase.value();
    PciFunction* function = function_at_ecam(offset);
    if (request.width > 4) return complain(request, "configuration space takes at most 4 bytes");
    // As on PCI, a write to a function that is not there vanishes.
    if (function != nullptr)
      function->write_config(offset % kPageSize, request.width, static_cast<uint32_t>(request.value));
    return;
  }
  MmioTarget* target = target_at(PhysAddr(request.address), request.width);
  if (target == nullptr) return complain(request, "no registers are there");
  if (!target->decodes_memory()) return complain(request, "the function does not decode memory there");
  const char* why = "";
  auto offset = static_cast<uint32_t>(request.address - target->mmio_base().value());
  if (!target->write_mmio(offset, request.width, request.value, &why)) complain(request, why);
}

uint64_t Bus::read(const hw::Request& request) {
  constexpr uint64_t kAllOnes = ~uint64_t{0};
  if (in_ecam(request.address)) {
    uint64_t offset = request.address - hw::kEcamBase.value();
    PciFunction* function = function_at_ecam(offset);
    if (function == nullptr || request.width > 4) return kAllOnes;
    return function->read_config(offset % kPageSize, request.width);
  }
  MmioTarget* target = target_at(PhysAddr(request.address), request.width);
  if (target == nullptr || !target->decodes_memory()) {
    complain(request, "nothing answers there");
    return kAllOnes;
  }
  return target->read_mmio(static_cast<uint32_t>(request.address - target->mmio_base().value()), request.width);
}

PciFunction* Bus::function_at_ecam(uint64_t offset) const {
  for (PciFunction* function : functions_) {
    if (hw::pci::ecam_offset(function->bdf()) == align_down(offset, kPageSize)) return function;
  }
  return nullptr;
}

MmioTarget* Bus::target_at(PhysAddr address, uint32_t width) const {
  for (MmioTarget* target : targets_) {
    if (address < target->mmio_base()) continue;
    uint64_t offset = address - target->mmio_base();
    if (offset < target->mmio_size() && width <= target->mmio_size() - offset) return target;
  }
  return nullptr;
}

void Bus::complain(const hw::Request& request, const char* why) {
  if (!complaints_.next()) return;
  log::warn("machine", "request ring: op {} of {} bytes at {:#x}, value {:#x}: {}",
            static_cast<uint32_t>(request.op), request.width, request.address, request.value, why);
}

}  // namespace causeway::machine
