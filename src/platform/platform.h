// The kernel's side of the machine: attach to it, then reach RAM, configuration space, registers,
// interrupts and the kexec mailbox.
//
//   auto platform = CW_TRY(Platform::attach(control_socket_fd));
//   for (const RamRange& ram : platform->ram()) ...
//   for (PciFunction& fn : platform->pci().scan()) ...
//
// One Platform per generation. Destroying it leaves the machine untouched: that is what a kernel's
// death is.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "base/unique_fd.h"
#include "hw/control.h"
#include "platform/direct_map.h"
#include "platform/interrupts.h"
#include "platform/mailbox.h"
#include "platform/mmio.h"
#include "platform/pci.h"

namespace causeway::platform {

struct RamRange {
  PhysAddr base;
  uint64_t size;       // bytes
  uint32_t region;     // index in the machine's region table
  bool hot_added;      // not boot RAM
  bool writable;       // false: by its owner's wish; a device's write is refused
  int fd;              // the descriptor behind it, owned by the Platform; -1: hot-added, see region_fd()
  uint64_t fd_offset;  // where the range starts in it
  uint64_t device = 0; // of hot-added memory: which file it is
  uint64_t inode = 0;
};

enum class MapNow : bool { kNo, kYes };

class Platform {
 public:
  // Speaks the control protocol on `control` (hw/control.h), maps the bus and boot RAM. Hot-added regions, of which
  // there may be very many, are known and not mapped: map().
  // `phys_limit`: bytes of physical address space to make room for; 0 chooses it from the RAM present.
  // Errors: EPROTO (not a machine, or another version), ECONNRESET (it went away), ENOMEM.
  static Result<std::unique_ptr<Platform>> attach(UniqueFd control, uint64_t phys_limit = 0);
  ~Platform();

  uint32_t generation() const;  // boots since power-on, this one included; from 1
  const DirectMap& direct_map() const;
  std::vector<RamRange> ram() const;  // ascending by address; includes hot-added regions
  PciBus& pci();
  Mmio& mmio();
  Interrupts& interrupts();
  // What firmware left for the kernel (hw/dmar.h): one page, all zero if nothing. It does not change.
  std::span<const std::byte> firmware_table() const;
  Mailbox& mailbox();

  // The backing of a physical RAM page, for a second mapping of it (vmalloc). EINVAL: no RAM there.
  struct Backing {
    int fd;
    uint64_t offset;
    uint64_t contiguous;  // bytes from here to the end of the region
  };
  Result<Backing> backing(PhysAddr address) const;

  // Hot-adds the memory behind `fd` (page-aligned size) as RAM. The machine keeps a duplicate of the
  // descriptor; the contents are untouched. A descriptor for reading, or a file sealed against writing, gives read-only
  // memory. Errors: EINVAL, ENOSPC (region table full), E2BIG (outside the direct map).
  Result<RamRange> hot_add(int fd, uint64_t size, MapNow map = MapNow::kYes);
  // Makes a hot-added region accessible through the direct map, if it is not yet. ENOENT.
  Status map(uint32_t region);
  // A new descriptor of the open file behind a region. ENOENT, EMFILE.
  Result<UniqueFd> region_fd(uint32_t region) const;
  // Removes a hot-added region; returns once no DMA is inside it. Errors: ENOENT, EBUSY (boot RAM).
  Status remove(uint32_t region);
  // The same for each of them, at the cost of little more than one. The results in order.
  std::vector<Status> remove_each(std::span<const uint32_t> regions);

  Result<std::string> machine_status();  // `name=value` lines
  // Makes the device's `nth` transfer from now (from 1) go wrong; 0 disarms. For tests and demonstrations.
  Status inject_fault(hw::control::Fault fault, uint64_t nth);
  Status power_off();

 private:
  struct State;
  explicit Platform(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::platform
