// What a demo's device does while kernels are replaced, and what has to hold of it. Everything else about a demo is the
// same for all: machine, updates, memory.
//
//   const Workload& workload = *find_workload("nvme");
//   Work work = workload.work(snapshot);                 // done so far, over all generations
//   for (auto& [what, seen] : workload.must_be_none(snapshot)) ...
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/snapshot.h"

namespace causeway::cli {

struct DemoOptions;
struct DemoRun;

// What every workload can say of itself; counts are over all generations.
struct Work {
  size_t devices = 0;
  bool adopted = false;            // all of them, from the kernel before
  uint64_t done = 0, bytes = 0;    // records or commands; verified bytes
  uint64_t lost = 0;
  uint32_t resets = 0;             // of the devices, since power-on
  uint32_t expected_resets = 0;    // as far as this kernel knows
  // Of the live update that began this generation.
  uint64_t blackout_ns = 0;
  uint64_t completed_before = 0, completed_during = 0, completed_after = 0;
};

class Workload {
 public:
  virtual ~Workload() = default;
  virtual const char* name() const = 0;
  virtual const char* unit() const = 0;  // "records"

  // For the machine (--device), empty: its default; and for the kernel. `disk`: path of the file behind a disk, "": memory.
  virtual std::vector<std::string> devices(const std::string& disk) const = 0;
  virtual std::vector<std::string> command_line(const DemoOptions& options) const = 0;
  virtual bool needs_disk() const { return false; }

  virtual Work work(const Snapshot& snapshot) const = 0;
  // What may happen in no generation, and how often it did.
  virtual std::vector<std::pair<const char*, uint64_t>> must_be_none(const Snapshot& snapshot) const = 0;

  // Something completes in every blackout; else in some.
  virtual bool is_steady() const { return true; }

  // The columns of a live update that are this workload's own, under `heading()`; both of the same width.
  virtual std::pair<std::string, std::string> heading() const = 0;
  virtual std::string columns(const Snapshot& end) const = 0;
  // The lines below the table, without the verdict.
  virtual std::vector<std::string> summary(const DemoRun& run, const Snapshot& last) const = 0;
  // Of the whole run, into the report; and of one update.
  virtual void add_json(const DemoRun& run, const Snapshot& last, nlohmann::json& report) const = 0;
  virtual void add_update_json(const Snapshot& end, nlohmann::json& update) const = 0;
};

const Workload& stream_workload();
const Workload& nvme_workload();
// Null: none of this name.
const Workload* find_workload(std::string_view name);

}  // namespace causeway::cli
