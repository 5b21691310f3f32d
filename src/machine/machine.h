// The machine: memory, a bus and devices with threads of their own, which keep running while kernels
// come and go.
//
//   auto machine = CW_TRY(Machine::create({.ram = MiB(256)}));
//   UniqueFd control = machine->connect();     // what a kernel in this process attaches to
//   CW_TRY(machine->listen("causeway-1000"));  // and kernels in others
//
// Destroying it, or a power-off message, stops every thread and closes every connection. Memory that
// others have mapped stays theirs; registers then answer all ones to who looks at the closed socket.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "base/unique_fd.h"
#include "machine/device_spec.h"
#include "machine/translation.h"
#include "machine/vtd/iommu_spec.h"
#include "machine/vtd/line_flushes.h"

namespace causeway::machine {

struct MachineConfig {
  uint64_t ram = MiB(256);  // bytes, a multiple of hw::kRamGranularity; sparse, so any size costs nothing
  std::vector<DeviceSpec> devices = {DeviceSpec{}};
  std::vector<IommuSpec> iommus = {};
  LineFlushes* line_flushes = nullptr;  // of IOMMUs that are not coherent; not owned, outlives the machine
  Translation* translation = nullptr;  // of all devices; not owned, outlives the machine. Null: the identity
};

class Machine {
 public:
  // Errors: EINVAL (RAM size; IOMMUs and a translation; two IOMMUs for a device; two devices in one place; more than
  // fit), and those of the system.
  static Result<std::unique_ptr<Machine>> create(const MachineConfig& config = {});
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // One end of a new control connection (hw/control.h). Empty: powered off, or no descriptors left.
  UniqueFd connect();
  // Also serves an abstract socket of this name, for processes of the same user. EINVAL, EADDRINUSE.
  Status listen(std::string_view abstract_name);

  // Any thread, any number of times. Returns when no DMA runs any more.
  void power_off();
  // Readable once the machine is powered off; for poll().
  int power_off_fd() const;

  std::string status() const;   // the text of kStatus
  uint32_t generation() const;  // kernels that have attached

 private:
  class Impl;
  explicit Machine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::machine
