// Read and write the kexec mailbox (hw/mailbox.h).
//
//   mailbox.publish({.fdt_addr = fdt, .fdt_size = 4096, ...});   // atomic switch to a new handover
//   if (auto handover = mailbox.current()) warm_boot(*handover);
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "hw/mailbox.h"
#include "sync/mutex.h"

namespace causeway::platform {

struct Handover {
  PhysAddr fdt_addr;
  uint64_t fdt_size = 0;  // bytes
  PhysAddr scratch_addr;
  uint64_t scratch_size = 0;  // bytes
  hw::HandoverKind kind = hw::HandoverKind::kNone;
  uint32_t generation = 0;
  uint64_t time_ns = 0;
  std::string release;
};

// Thread-safe within one kernel; between kernels the slots' own protocol holds.
class Mailbox {
 public:
  explicit Mailbox(hw::KexecMailbox* mailbox) : mailbox_(mailbox) {}

  // nullopt: erased, or no slot is whole. `damaged` tells the two apart: true if a slot had the
  // magic or any other non-zero byte but no valid checksum.
  std::optional<Handover> current(bool* damaged = nullptr) const;
  // Writes the free slot, then erases the other: at every instant at least one valid handover can
  // be read. time_ns is filled in; a release of more than 63 bytes is cut.
  void publish(const Handover& handover);
  void erase();

 private:
  mutable sync::Mutex mutex_{"platform.mailbox"};
  hw::KexecMailbox* mailbox_;
};

}  // namespace causeway::platform
