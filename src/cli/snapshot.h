// What a kernel says about itself at one instant: the reply to `status`, back in its own types.
//
//   Snapshot now = CW_TRY(take_snapshot(kernel_socket));
//   for (auto& [bdf, engine] : now.status.engines) total += engine.records;
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/iommu_seen.h"
#include "drivers/dma_engine.h"
#include "kernel/kernel.h"
#include "server/control.h"

namespace causeway::cli {

struct Snapshot {
  kernel::KernelStatus status;
  KernelIommu iommu;
  // Engines that the kernel was told not to hand over (no_handover=): not among those of `status`.
  std::vector<std::pair<std::string, drivers::DmaEngineStats>> ephemeral;
  int pid = 0;
  std::string build_id;     // of the running binary, as /proc shows it; "" if it cannot be read
  uint64_t taken_ns = 0;    // CLOCK_MONOTONIC

  // All engines together: sums of what is counted, the worst of what is measured.
  drivers::DmaEngineStats total() const;
  bool drives_devices() const { return !status.engines.empty() || !status.nvmes.empty(); }
  // Every device's driver has consumed something since this kernel booted; false without devices.
  bool working() const;
  // Pages that no kernel will ever use again.
  uint64_t leaked_pages() const { return status.dma.leaked_pages + status.pages.leaked_pages; }
  // Incoming pages that nobody restored, beyond the two that nobody is meant to.
  uint64_t unrestored_pages() const;
};

// Lines that are missing leave their field 0.
Snapshot parse_snapshot(const server::Reply& reply);

// Asks the kernel. Errors: those of server::ask(); EPROTO: it answers with an error.
Result<Snapshot> take_snapshot(const std::string& kernel_socket, unsigned timeout_ms = 10000);

// The lines of a status reply as one object: dots nest, devices become the arrays "engines" and "nvmes", repeated
// lines become arrays, and what is a number becomes one.
nlohmann::json status_json(const server::Reply& reply);

}  // namespace causeway::cli
