// A running machine's memory and mailbox, looked at from outside: no kernel is needed, none notices.
//
//   auto machine = CW_TRY(ObservedMachine::attach(client));
//   if (auto handover = machine.handover()) inspect::write_core(machine.memory(), ...);
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cli/machine_client.h"
#include "inspect/memory.h"
#include "platform/mailbox.h"

namespace causeway::cli {

class ObservedMachine {
 public:
  // Maps what RAM there is now. Errors: those of the control socket and of mmap().
  static Result<ObservedMachine> attach(MachineClient& client);

  const inspect::SegmentMemory& memory() const { return *memory_; }
  const std::vector<mm::MemRange>& ram() const { return ram_; }
  // nullopt: none stands; `damaged` as in platform::Mailbox::current().
  std::optional<platform::Handover> handover(bool* damaged) const;

 private:
  ObservedMachine() = default;
  Mapping bus_;
  std::map<uint32_t, UniqueFd> fds_;  // by fd_id
  std::vector<Mapping> mappings_;
  std::vector<mm::MemRange> ram_;
  std::unique_ptr<inspect::SegmentMemory> memory_;
};

}  // namespace causeway::cli
