#include "iommu/vtd/invalidation_queue.h"

#include <fmt/format.h>

#include <thread>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "iommu/vtd/descriptors.h"
#include "sync/deadline.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

namespace {

constexpr uint32_t kErrors = FaultQueueError::kMask | FaultCompletionError::kMask | FaultTimeoutError::kMask;
// A device that is there but does not answer is asked that often.
constexpr unsigned kPatience = 8;
constexpr unsigned kSpins = 64;
constexpr unsigned kYieldsPerCheck = 256;

const char* name_of_error(uint64_t code) {
  switch (code) {
    case kQueueErrorType:
      return "the type is unknown";
    case kQueueErrorReserved:
      return "a reserved field is not zero";
    case kQueueErrorField:
      return "a field has a value that cannot be";
    default:
      return "no reason is told";
  }
}

}  // namespace

Result<std::unique_ptr<InvalidationQueue>> InvalidationQueue::create(UnitRegisters& regs, IommuPages& pages,
                                                                     InvalidatorOptions options) {
  // Of another kernel: in memory that is not its own any more.
  if (regs.queue_enabled()) CW_TRY(regs.quiesce());
  uint64_t* ring = CW_TRY(pages.allocate(options.wide ? Order(1) : kOrder0));
  auto status = pages.allocate(kOrder0);
  if (!status) {
    pages.free(ring);
    return fail(status.error());
  }
  regs.write32(kFaultStatus, kErrors);
  uint64_t address =
      pages.phys(ring).value() | QueueWide::make(options.wide ? 1 : 0) | QueueSize::make(options.wide ? 1 : 0);
  std::unique_ptr<InvalidationQueue> queue(
      new InvalidationQueue(regs, pages, std::move(options), ring, *status));
  if (auto enabled = regs.enable_queue(address); !enabled) {
    // Perhaps it will be enabled after all: the memory is not used again.
    return fail(enabled.error());
  }
  return queue;
}

InvalidationQueue::~InvalidationQueue() = default;

std::atomic_ref<uint32_t> InvalidationQueue::status(unsigned slot) const {
  return std::atomic_ref(reinterpret_cast<uint32_t*>(status_)[slot]);
}

void InvalidationQueue::put(unsigned slot, const QueueDescriptor& descriptor) {
  uint64_t* words = ring_ + size_t{slot} * words_per_slot();
  for (unsigned i = 0; i < words_per_slot(); ++i)
    std::atomic_ref(words[i]).store(descriptor.w[i], std::memory_order_release);
}

QueueDescriptor InvalidationQueue::get(unsigned slot) const {
  QueueDescriptor descriptor{};
  uint64_t* words = ring_ + size_t{slot} * words_per_slot();
  for (unsigned i = 0; i < words_per_slot(); ++i)
    descriptor.w[i] = std::atomic_ref(words[i]).load(std::memory_order_relaxed);
  return descriptor;
}

Result<InvalidationQueue::Ticket> InvalidationQueue::enqueue(std::span<const QueueDescriptor> descriptors) {
  auto count = static_cast<unsigned>(descriptors.size()) + 1;
  auto deadline = sync::Deadline::after(regs_.time_limit());
  while (true) {
    {
      sync::SpinLockGuard guard(lock_);
      if (!enabled_) return fail(ENODEV, "the invalidation queue is disabled");
      // A slot stays free: a tail that has caught up with the head is an empty queue.
      if (used_ + count + 1 <= kSlots) {
        Ticket ticket{tail_, count};
        unsigned wait = ticket.wait();
        for (unsigned i = 0; i < count; ++i) {
          unsigned slot = (tail_ + i) % kSlots;
          slots_[slot] = {.used = true, .wait = static_cast<uint16_t>(wait)};
          if (slot != wait) put(slot, descriptors[i]);
        }
        status(wait).store(kInProgress, std::memory_order_relaxed);
        put(wait, wait_for_status(status_address(wait), kDone));
        tail_ = (tail_ + count) % kSlots;
        used_ += count;
        ++stats_.submissions;
        stats_.descriptors += count - 1;
        CW_POINT("iommu.vtd.queue.before_tail");
        regs_.write64(kQueueTail, uint64_t{tail_} << slot_shift());
        return ticket;
      }
    }
    if ((regs_.peek32(kFaultStatus) & kErrors) != 0) handle_errors();
    if (deadline.has_passed()) return fail(ETIMEDOUT, "the invalidation queue stays full");
    std::this_thread::yield();
  }
}

Status InvalidationQueue::wait(const Ticket& ticket) {
  auto deadline = sync::Deadline::after(regs_.time_limit());
  for (uint64_t round = 1; status(ticket.wait()).load(std::memory_order_acquire) == kInProgress; ++round) {
    if (round % kSpins != 0) continue;
    if ((regs_.peek32(kFaultStatus) & kErrors) != 0) handle_errors();
    if (round % (kSpins * kYieldsPerCheck) == 0) {
      // The plain load goes on giving what the register last was when the machine has died.
      if (regs_.read32(kFaultStatus) == ~uint32_t{0}) return fail(ETIMEDOUT, "the remapping unit is gone");
      if (deadline.has_passed()) return fail(ETIMEDOUT, "the invalidation queue does not go on");
    }
    std::this_thread::yield();
  }
  return {};
}

InvalidationQueue::Slot InvalidationQueue::release(const Ticket& ticket) {
  sync::SpinLockGuard guard(lock_);
  Slot outcome = slots_[ticket.wait()];
  for (unsigned i = 0; i < ticket.count; ++i) slots_[(ticket.first + i) % kSlots] = {};
  while (used_ > 0 && !slots_[oldest_].used) {
    oldest_ = (oldest_ + 1) % kSlots;
    --used_;
  }
  if (outcome.aborted) ++stats_.aborted;
  return outcome;
}

Status InvalidationQueue::submit(std::span<const QueueDescriptor> descriptors) {
  if (descriptors.size() > kMaxDescriptors) return fail(E2BIG, "more invalidations than the queue holds");
  std::vector<QueueDescriptor> left;  // what is made again, once something is left out
  bool refused = false, timed_out = false;
  for (unsigned attempt = 1; !descriptors.empty(); ++attempt) {
    Ticket ticket = CW_TRY(enqueue(descriptors));
    // On failure the slots stay in use: the hardware may come to them yet.
    CW_TRY(wait(ticket));
    Slot outcome = release(ticket);
    refused |= outcome.refused;
    if (!outcome.aborted) break;
    // Of everything that is under way nobody knows what was done: all is made again, but for a device that is gone.
    std::vector<QueueDescriptor> others;
    for (const QueueDescriptor& descriptor : descriptors) {
      Bdf device;
      bool suspect = names_device(descriptor, &device) && (outcome.silent == 0 || device.value() == outcome.silent);
      if (suspect && (attempt >= kPatience || (options_.is_present && !options_.is_present(device)))) {
        log::warn("iommu", "{}: the device-TLB of {} does not answer", regs_.name(), device);
        timed_out = true;
      } else {
        others.push_back(descriptor);
      }
    }
    if (others.size() == descriptors.size()) continue;
    left = std::move(others);
    descriptors = left;
  }
  if (refused) return fail(EINVAL, "the remapping unit refused an invalidation");
  if (!timed_out) return {};
  sync::SpinLockGuard guard(lock_);
  ++stats_.timeouts;
  return fail(ETIMEDOUT, "a device does not answer an invalidation of its TLB");
}

void InvalidationQueue::handle_errors() {
  sync::SpinLockGuard guard(lock_);
  uint32_t status = regs_.read32(kFaultStatus);
  if (status == ~uint32_t{0}) return;  // the unit is gone; whoever waits finds out
  if (FaultQueueError::get(status) != 0) handle_refused();
  if (FaultTimeoutError::get(status) != 0) handle_silence();
  if (FaultCompletionError::get(status) != 0) regs_.write32(kFaultStatus, FaultCompletionError::kMask);
}

// The unit has stopped at the head, and goes on from there once the error is cleared. The rest of the submission and
// its wait are still to come, so what stands in for the bad descriptor tells nobody.
void InvalidationQueue::handle_refused() {
  unsigned bad = head();
  QueueDescriptor descriptor = get(bad);
  log::error("iommu", "{}: invalidation {:#x} {:#x} refused: {}", regs_.name(), descriptor.w[0], descriptor.w[1],
             name_of_error(QueueErrorReason::get(regs_.read64(kQueueError))));
  ++stats_.errors;
  put(bad, wait_for_status(status_address(kSlots), kDone));
  const Slot& slot = slots_[bad];
  if (slot.used) {
    slots_[slot.wait].refused = true;
    if (slot.wait == bad) status(bad).store(kDone, std::memory_order_release);
  }
  regs_.write32(kFaultStatus, FaultQueueError::kMask);
}

bool InvalidationQueue::is_for(const Slot& slot, unsigned first, unsigned end, uint16_t source) const {
  for (unsigned i = first; i != end && slots_[i].used && slots_[i].wait == slot.wait; i = (i + 1) % kSlots) {
    Bdf named;
    if (names_device(get(i), &named) && (source == 0 || named.value() == source)) return true;
  }
  return false;
}

// The unit has dropped the waits before the head without a word. A submission that the head lies in will have its wait
// answered, though its device was not heard of: it is told as well.
void InvalidationQueue::handle_silence() {
  unsigned end = head();
  auto source = static_cast<uint16_t>(QueueErrorTimeoutSource::get(regs_.read64(kQueueError)));
  for (unsigned i = 0, slot = oldest_; i < used_ && slot != end; ++i, slot = (slot + 1) % kSlots) {
    if (!slots_[slot].used) continue;
    unsigned wait = slots_[slot].wait;
    if (status(wait).load(std::memory_order_acquire) != kInProgress) continue;
    if (slot != wait && !is_for(slots_[slot], slot, end, source)) continue;
    // Told before the status word changes: the submitter looks afterwards.
    slots_[wait].aborted = true;
    slots_[wait].silent = source;
    if (slot == wait) status(slot).store(kAborted, std::memory_order_release);
  }
  regs_.write32(kFaultStatus, FaultTimeoutError::kMask);
}

Status InvalidationQueue::disable() {
  {
    sync::SpinLockGuard guard(lock_);
    if (!enabled_) return {};
    enabled_ = false;
  }
  auto deadline = sync::Deadline::after(regs_.time_limit());
  auto is_idle = [&] {
    sync::SpinLockGuard guard(lock_);
    return used_ == 0;
  };
  while (!is_idle()) {
    if (deadline.has_passed()) return fail(ETIMEDOUT, "invalidations are still under way");
    std::this_thread::yield();
  }
  CW_TRY(regs_.poll64(kQueueHead, [&](uint64_t value) { return value == regs_.read64(kQueueTail); },
                      "the last invalidation"));
  CW_TRY(regs_.disable_queue());
  pages_.free(ring_);
  pages_.free(status_);
  return {};
}

InvalidatorStats InvalidationQueue::stats() const {
  sync::SpinLockGuard guard(lock_);
  return stats_;
}

}  // namespace causeway::iommu::vtd
