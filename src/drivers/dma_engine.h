// The driver of the DMA engine: streams records into a ring of DMA buffers, verifies every one, and
// hands the running device to the next kernel without stopping it.
//
//   auto driver = CW_TRY(DmaEngine::probe(context, function, options));  // set up, or adopt
//   CW_TRY(driver->preserve());  // everything it owns, and how the next kernel finds it
//   driver->start();             // from here on records are consumed on the interrupt thread
//   ...
//   driver->freeze();            // kexec: consume no more; the device goes on
//
// A driver keeps all its DMA memory preserved from the moment the device may use it, not only at kexec:
// a kernel can die at any instruction, and what the device writes to must stay reserved.
//
// On a warm boot probe() finds its predecessor's handover (abi/dma_engine_v1.h), restores every
// allocation, checks that the device still runs with exactly those, and goes on where the indices of the
// device and LiveState say. If anything does not fit, the device is taken off the bus first, what was
// restored is leaked, and probe() returns the reason.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "base/result.h"
#include "base/types.h"
#include "drivers/driver.h"

namespace causeway::drivers {

// Mistakes a driver can make in a live update, made on purpose: for negative controls.
enum class Sabotage : uint8_t {
  kNone,
  kSkipPreserve,  // the stream's rings are not preserved
  kEarlyFree,     // buffers are freed while the device still writes to them
  kStopDevice,    // the new driver resets the device
};

struct DmaEngineOptions {
  unsigned ring_log2 = 11;          // stream buffers: 2^ring_log2
  uint32_t buffer_size = KiB(20);   // bytes of a buffer, and of a record
  uint32_t rate = 4000;             // records per second
  bool hold = false;                // no free buffer: the device holds the record instead of dropping it
  unsigned address_width = 64;      // bits: 32, 40 or 64
  uint32_t recycle = 16;            // buffers exchanged for new ones after a live update
  Sabotage sabotage = Sabotage::kNone;
};

struct DmaEngineStats {
  bool adopted = false;             // from a predecessor, not started by this kernel
  // Since the stream was started, over all generations.
  uint64_t records = 0, bytes = 0, lost = 0, replayed = 0, corrupted = 0, refused = 0;
  uint64_t work_done = 0, work_failed = 0;
  // The device's own view.
  uint64_t device_completed = 0, device_dropped = 0, device_refused = 0, device_starved_ns = 0;
  uint64_t device_max_gap_ns = 0;   // longest time between two transfers since the last live update began
  uint64_t device_max_late_ns = 0;  // of it, how late the device's own thread was
  uint32_t device_epoch = 0;        // resets
  uint32_t expected_epoch = 0;
  // The live update that started this generation (0 if it was a cold start).
  uint64_t blackout_ns = 0;         // last record consumed by the old kernel -> first by this one
  uint64_t completed_before = 0;    // records consumed by the predecessors
  uint64_t completed_during = 0;    // transfers the device completed in the blackout
  uint64_t completed_after = 0;     // records consumed by this generation
  uint64_t first_work_ns = 0;       // CLOCK_MONOTONIC; 0: nothing consumed yet
  uint64_t recycled = 0;            // buffers exchanged by this generation
};

// Every field with its name: how the statistics travel as text.
template <typename Stats, typename Visit>
  requires std::is_same_v<std::remove_const_t<Stats>, DmaEngineStats>
void for_each_field(Stats& s, Visit visit) {
  visit("adopted", s.adopted);
  visit("records", s.records);
  visit("bytes", s.bytes);
  visit("lost", s.lost);
  visit("replayed", s.replayed);
  visit("corrupted", s.corrupted);
  visit("refused", s.refused);
  visit("work_done", s.work_done);
  visit("work_failed", s.work_failed);
  visit("device_completed", s.device_completed);
  visit("device_dropped", s.device_dropped);
  visit("device_refused", s.device_refused);
  visit("device_starved_ns", s.device_starved_ns);
  visit("device_max_gap_ns", s.device_max_gap_ns);
  visit("device_max_late_ns", s.device_max_late_ns);
  visit("device_epoch", s.device_epoch);
  visit("expected_epoch", s.expected_epoch);
  visit("blackout_ns", s.blackout_ns);
  visit("completed_before", s.completed_before);
  visit("completed_during", s.completed_during);
  visit("completed_after", s.completed_after);
  visit("first_work_ns", s.first_work_ns);
  visit("recycled", s.recycled);
}

class DmaEngine final : public Driver {
 public:
  static bool matches(const platform::PciFunction& function);
  static Result<std::unique_ptr<DmaEngine>> probe(DriverContext context, platform::PciFunction function,
                                                  const DmaEngineOptions& options);
  ~DmaEngine() override;  // a kernel's death: the device runs on

  bool adopted() const override;
  Status preserve() override;
  // A device that was set up by this kernel begins to stream here.
  Status start() override;
  // Recycling begins.
  void handover_committed() override;
  // No work is in flight on the work queue when it returns. The device streams on, unless it is not handed over: behind an
  // IOMMU whose domain is not preserved (preserve(): EOPNOTSUPP) it is taken off the bus.
  void freeze() override;
  void thaw() override;
  void shutdown() override;

  // The subtree under which a driver of the function at `bdf` finds its predecessor's handover.
  static std::string subtree_name(Bdf bdf);

  // A fill and a copy between the driver's two work buffers, verified. Behind an IOMMU, too: writes through mappings that
  // last no longer, which tells whether a device can still use addresses that were taken from it. EIO, ETIMEDOUT, EBUSY (frozen).
  Status self_test() override;
  DmaEngineStats stats() const;

 private:
  struct State;
  explicit DmaEngine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::drivers
