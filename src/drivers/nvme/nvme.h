// The NVMe driver: reads and writes a namespace through the streaming DMA API, and hands the running controller to the
// next kernel with commands in flight.
//
//   auto disk = CW_TRY(Nvme::probe(context, function, options));  // set up, or adopt
//   CW_TRY(disk->preserve());  // everything the controller uses, and how the next kernel finds it
//   CW_TRY(disk->start());     // from here on commands are taken
//   CW_TRY(disk->write(lba, segments));
//   CW_TRY(disk->submit({.opcode = kRead, .lba = lba, .blocks = 8, .data = segments}, [](Result<uint32_t> result) { ... }));
//   ...
//   disk->freeze();            // kexec: nothing is submitted or consumed any more; the controller goes on
//
// Between probe() and start() the controller is off the bus, so its memory is preserved, and the handover published,
// before it can be reached. A kernel may die at any instruction after that: the successor restores the memory, compares the
// command table with the controller's own indices and goes on with the first completion that was not consumed
// (io_queue.h). An adopted controller is never reset. If anything does not fit, it is taken off the bus first, what was
// restored is leaked, and probe() returns the reason.
//
// Behind an IOMMU the mappings of commands in flight are handed over with the domain: the successor claims every one in
// probe(). It maps nothing new before its own handover has been committed, so it is to be started after that.
//
// What cannot be handed over: bounced mappings, and a domain that is not preserved. preserve() is then EOPNOTSUPP; freeze()
// waits until nothing is in flight and takes the controller off the bus, and the next kernel sets it up anew.
//
// Once handed over, the controller may only reach memory that stays reserved: commands with other memory are EPERM. Their
// memory stays the controller's until they complete; after a successor took over nobody is told of that.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "base/result.h"
#include "base/types.h"
#include "drivers/driver.h"
#include "drivers/nvme/io_queue.h"

namespace causeway::drivers::nvme {

// Mistakes a driver can make in a live update, made on purpose: for negative controls.
enum class Sabotage : uint8_t {
  kNone,
  kSkipPreserve,    // the rings are not preserved
  kReplayInFlight,  // the successor submits what is in flight once more
  kDropInFlight,    // the successor forgets what is in flight
  kStopDevice,      // the successor resets the controller
  kEarlyFree,       // the successor frees data buffers that are in use
  kSkipClaim,       // the successor does not claim the mappings of what is in flight
};

struct NvmeOptions {
  unsigned queues = 1;          // pairs wanted, 1..8
  uint32_t queue_depth = 32;    // commands in flight in each, 1..128
  uint32_t io_size = KiB(16);   // bytes of the workload's commands, a multiple of 4 KiB
  uint64_t file_bytes = 0;      // of the workload's file; 0: no workload. It overwrites the namespace
  uint64_t seed = 1;            // of its contents
  bool sgl = true;              // where the controller supports it and it pays
  bool poll = false;            // no interrupts
  uint32_t timeout_ms = 5000;   // then a command is given up
  Sabotage sabotage = Sabotage::kNone;
};
inline constexpr uint64_t kDefaultFileBytes = MiB(8);

struct NvmeStats {
  bool adopted = false;       // from a predecessor
  bool handed_over = false;   // a successor could adopt it
  unsigned queues = 0;
  // Since the controller was enabled, over all kernels.
  uint64_t reads = 0, writes = 0, flushes = 0, bytes_read = 0, bytes_written = 0;
  uint64_t verified = 0;      // bytes
  uint64_t lost = 0, duplicated = 0, corrupted = 0, refused = 0, late = 0;
  uint64_t passes = 0;        // of the workload, completed by every queue
  uint64_t in_flight = 0;
  uint64_t file_bytes = 0;    // of the workload's file
  uint64_t file_seed = 0;     // what final_seed() says; 0 until the workload is done
  // The live update that started this generation.
  uint64_t in_flight_at_takeover = 0;
  uint64_t completed_during_blackout = 0;  // of them, completed before this kernel looked
  uint64_t completed_before = 0;           // commands of the predecessors
  uint64_t completed_after = 0;            // commands of this generation
  uint64_t blackout_ns = 0;                // last completion consumed by the old kernel -> first by this one
  uint64_t first_work_ns = 0;              // CLOCK_MONOTONIC; 0: nothing consumed yet
  // The controller's own view.
  uint64_t device_completed = 0;           // commands, since its queues were made
  uint64_t device_in_flight = 0;
  uint32_t device_epoch = 0, expected_epoch = 0;  // resets
};

// Every field with its name: how the statistics travel as text.
template <typename Stats, typename Visit>
  requires std::is_same_v<std::remove_const_t<Stats>, NvmeStats>
void for_each_field(Stats& s, Visit visit) {
  visit("adopted", s.adopted);
  visit("handed_over", s.handed_over);
  visit("queues", s.queues);
  visit("reads", s.reads);
  visit("writes", s.writes);
  visit("flushes", s.flushes);
  visit("bytes_read", s.bytes_read);
  visit("bytes_written", s.bytes_written);
  visit("verified", s.verified);
  visit("lost", s.lost);
  visit("duplicated", s.duplicated);
  visit("corrupted", s.corrupted);
  visit("refused", s.refused);
  visit("late", s.late);
  visit("passes", s.passes);
  visit("in_flight", s.in_flight);
  visit("file_bytes", s.file_bytes);
  visit("file_seed", s.file_seed);
  visit("in_flight_at_takeover", s.in_flight_at_takeover);
  visit("completed_during_blackout", s.completed_during_blackout);
  visit("completed_before", s.completed_before);
  visit("completed_after", s.completed_after);
  visit("blackout_ns", s.blackout_ns);
  visit("first_work_ns", s.first_work_ns);
  visit("device_completed", s.device_completed);
  visit("device_in_flight", s.device_in_flight);
  visit("device_epoch", s.device_epoch);
  visit("expected_epoch", s.expected_epoch);
}

struct NamespaceInfo {
  uint64_t blocks;
  uint32_t block_size;    // bytes
  uint64_t max_transfer;  // bytes of one command
};

class Nvme final : public Driver {
 public:
  static bool matches(const platform::PciFunction& function);
  // Errors: EINVAL, options out of range; ENODEV, no such controller; those of the controller, dma and kho.
  static Result<std::unique_ptr<Nvme>> probe(DriverContext context, platform::PciFunction function,
                                             const NvmeOptions& options);
  ~Nvme() override;  // a kernel's death: the controller runs on

  bool adopted() const override;
  // Before start() of a controller set up by this kernel; an adopted one may be started first, if it is not behind an IOMMU.
  // EOPNOTSUPP: it cannot be handed over.
  Status preserve() override;
  bool may_start_before_commit() const override;
  Status start() override;
  void handover_committed() override;
  void freeze() override;
  void thaw() override;
  // Orderly end without a successor: stops the controller, frees everything.
  void shutdown() override;
  static std::string subtree_name(Bdf bdf);

  NamespaceInfo info() const;
  // One command each, `segments` at most max_transfer bytes. EINVAL, ERANGE (beyond the namespace), EPERM (memory that
  // would not stay reserved), EIO, ETIMEDOUT (the memory stays the controller's), EBUSY (frozen).
  Status read(uint64_t lba, std::span<const PhysSegment> segments);
  Status write(uint64_t lba, std::span<const PhysSegment> segments);
  Status flush();
  // The same, and EAGAIN: as many commands as there can be are in flight. `done` is not called after an error.
  Status submit(const Command& command, Done done);
  // Completions consumed. Polls all queues; may be called in either mode.
  unsigned poll();
  // Gives up what is overdue; done by a thread as well.
  void expire();

  // The controller memory buffer: data that other devices, and this one, reach peer to peer. ENODEV: it has none.
  Result<PhysSegment> memory_buffer();

  NvmeStats stats() const;
  // The workload ends with a whole pass: the file then is that of final_seed() (block_content.h).
  Status drain() override;
  // What drain() waits for, without the waiting.
  void finish_workload();
  bool workload_done() const;
  uint64_t final_seed() const;

 private:
  struct State;
  explicit Nvme(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::drivers::nvme
