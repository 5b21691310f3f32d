// What the driver's parts share; private to nvme*.cc.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "drivers/nvme/controller.h"
#include "drivers/nvme/data_buffers.h"
#include "drivers/nvme/file_workload.h"
#include "drivers/nvme/nvme.h"
#include "sync/thread.h"

namespace causeway::drivers::nvme {

struct Nvme::State {
  State(DriverContext ctx, platform::PciFunction fn, const NvmeOptions& opts);

  // nvme_probe.cc
  Status set_up();
  Status adopt(const kho::Subtree& subtree);
  // `mappings`: of the queues; empty without an IOMMU.
  Status adopt_checked(const abi::Handover& old, std::span<const uint64_t> buffer_blocks,
                       std::span<const uint64_t> mappings);
  Status configure_device();
  void make_queues(uint32_t depth);
  void make_workload();
  Status sabotage_adopted();
  Status reset_as_if_cold();
  Status can_be_handed_over();
  Status preserve();

  // nvme.cc
  unsigned poll_queue(IoQueue& queue);
  void run_thread();
  void open();
  void close();
  Status check(const Command& command) const;
  Status run(const Command& command);
  Result<PhysSegment> memory_buffer();

  DriverContext context;
  platform::PciFunction function;
  dma::Device device;
  NvmeOptions options;
  const uint32_t generation;
  Controller controller;
  Identity identity{};
  uint64_t max_transfer = 0;
  uint32_t expected_epoch = 0;
  bool adopted = false;
  std::atomic<bool> handed_over{false};

  std::vector<std::unique_ptr<IoQueue>> queues;
  std::vector<uint8_t> vectors;  // of the queues, without interrupts: none
  DataBuffers buffers;
  std::unique_ptr<FileWorkload> workload;
  abi::Handover* handover = nullptr;  // ours, outgoing
  void* predecessor_handover = nullptr;

  // Of the takeover, fixed when it begins.
  uint64_t in_flight_at_takeover = 0;
  uint64_t completed_during = 0;
  uint64_t completed_before = 0;
  uint64_t last_work_before_ns = 0;
  std::atomic<uint64_t> first_work_ns{0};
  std::atomic<uint32_t> next_queue{0};
  std::atomic<bool> running{false};
  std::atomic<uint64_t> final_pass{~uint64_t{0}};

  sync::Mutex peer_mutex{"drivers.nvme.peer"};
  std::optional<PhysSegment> peer_window CW_GUARDED_BY(peer_mutex);
  uint64_t peer_id CW_GUARDED_BY(peer_mutex) = 0;

  sync::Thread thread;  // last: ends before the rest goes
};

}  // namespace causeway::drivers::nvme
