// The invalidation queue (VT-d 6.5.2): a ring of 256 descriptors in memory that the unit works off.
//
// Every submission ends with a wait descriptor, which has the unit write to the status word of its slot; the submitter
// spins on that. There is room for one descriptor more than is ever used, so a full ring is not an empty one.
//
// When the unit stops on an error:
//   a descriptor it does not understand   is overwritten with a wait; its submitter gets EINVAL
//   a device-TLB that does not answer      the waits under way are aborted by the unit; their submitters submit again,
//                                          without what is for a device that is gone
//   a completion error                     is cleared
//
// Submissions need the ring's lock for a moment only; any number of them are under way at the same time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "iommu/vtd/invalidator.h"
#include "sync/spin_lock.h"

namespace causeway::iommu::vtd {

class InvalidationQueue final : public Invalidator {
 public:
  static constexpr unsigned kSlots = 256;

  static Result<std::unique_ptr<InvalidationQueue>> create(UnitRegisters& regs, IommuPages& pages,
                                                           InvalidatorOptions options);
  ~InvalidationQueue() override;  // frees nothing unless disable() was called: the hardware may still read it

  Status submit(std::span<const QueueDescriptor> descriptors) override;
  Status disable() override;
  InvalidatorStats stats() const override;

 private:
  // What the unit writes into the status word of a wait, and what the driver does.
  enum Progress : uint32_t { kIdle = 0, kInProgress = 1, kDone = 2, kAborted = 3 };
  struct Slot {
    bool used = false;
    uint16_t wait = 0;  // the slot of the submission's wait
    // Of a wait's slot, about its submission:
    bool refused = false;
    bool aborted = false;
    uint16_t silent = 0;  // if aborted: the device that did not answer, as far as the unit told
  };
  struct Ticket {
    unsigned first = 0;  // slot
    unsigned count = 0;  // with the wait
    unsigned wait() const { return (first + count - 1) % kSlots; }
  };

  InvalidationQueue(UnitRegisters& regs, IommuPages& pages, InvalidatorOptions options, uint64_t* ring,
                    uint64_t* status)
      : regs_(regs), pages_(pages), options_(std::move(options)), ring_(ring), status_(status) {}
  Result<Ticket> enqueue(std::span<const QueueDescriptor> descriptors);
  Status wait(const Ticket& ticket);
  Slot release(const Ticket& ticket);  // what became of it
  void handle_errors();
  void handle_refused() CW_REQUIRES(lock_);
  void handle_silence() CW_REQUIRES(lock_);
  // Has the submission a descriptor for the device-TLB of `source` before the slot `end`?
  bool is_for(const Slot& slot, unsigned first, unsigned end, uint16_t source) const CW_REQUIRES(lock_);

  unsigned words_per_slot() const { return options_.wide ? 4 : 2; }
  unsigned slot_shift() const { return options_.wide ? hw::vtd::kSlotShift + 1 : hw::vtd::kSlotShift; }
  unsigned head() const { return static_cast<unsigned>(regs_.read64(hw::vtd::kQueueHead) >> slot_shift()) % kSlots; }
  void put(unsigned slot, const QueueDescriptor& descriptor);
  QueueDescriptor get(unsigned slot) const;
  // Word kSlots belongs to no slot: for waits that nobody waits for.
  std::atomic_ref<uint32_t> status(unsigned slot) const;
  PhysAddr status_address(unsigned slot) const { return pages_.phys(status_) + slot * sizeof(uint32_t); }

  UnitRegisters& regs_;
  IommuPages& pages_;
  const InvalidatorOptions options_;
  uint64_t* ring_;
  uint64_t* status_;

  mutable sync::SpinLock lock_{"iommu.vtd.queue"};
  std::array<Slot, kSlots> slots_ CW_GUARDED_BY(lock_){};
  unsigned tail_ CW_GUARDED_BY(lock_) = 0;    // where the next descriptor goes
  unsigned oldest_ CW_GUARDED_BY(lock_) = 0;  // the first slot in use, or tail_
  unsigned used_ CW_GUARDED_BY(lock_) = 0;    // slots from oldest_ to tail_
  bool enabled_ CW_GUARDED_BY(lock_) = true;
  InvalidatorStats stats_ CW_GUARDED_BY(lock_);
};

}  // namespace causeway::iommu::vtd
