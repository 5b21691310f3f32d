// The registers of one remapping unit: the global command and its answer, the root table, protected memory.
//
//   auto regs = CW_TRY(UnitRegisters::create(mmio.window(base, hw::vtd::kRegisterBytes), "dmar0"));
//   CW_TRY(regs->set_root(root, TableMode::kScalable));     // then flush everything: Flush::flush_all()
//   CW_TRY(regs->enable_translation());
//
// A command is the whole state at once: what is on (translation, the queue, interrupt remapping) is remembered, found
// on the hardware when the unit is taken over, and written with every one. Each is polled for ten seconds: ETIMEDOUT,
// and the unit's state is then what translation_enabled() and so on read.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "iommu/vtd/capabilities.h"
#include "platform/mmio.h"
#include "sync/spin_lock.h"

namespace causeway::iommu::vtd {

enum class TableMode : uint8_t { kLegacy, kScalable };

class UnitRegisters {
 public:
  // ENODEV: nothing answers there; EINVAL: what it says about itself cannot be (register offsets outside the page).
  static Result<std::unique_ptr<UnitRegisters>> create(platform::MmioWindow window, std::string name);

  const std::string& name() const { return name_; }  // "dmar0"
  const Capabilities& caps() const { return caps_; }

  // -- Root table. `root` is latched; what was cached of the old one stays, unless caps().set_root_invalidates().
  Status set_root(PhysAddr root, TableMode mode);
  struct Root {
    PhysAddr address;
    TableMode mode = TableMode::kLegacy;
  };
  // What the register says: of the old kernel, until set_root(). EINVAL: a reserved mode.
  Result<Root> root() const;

  // -- Translation. Enabling what is enabled is nothing.
  Status enable_translation();
  Status disable_translation();
  bool translation_enabled() const;

  // -- Others.
  Status enable_queue(uint64_t address_register);  // tail 0, kQueueAddress, then on
  Status disable_queue();
  bool queue_enabled() const;
  Status flush_write_buffer();        // nothing unless caps().write_buffer_flush()
  Status disable_protected_memory();  // nothing unless caps().protected_memory()

  // Everything an old kernel may have left that writes to memory which is not its own any more: the queue is drained
  // and stopped, page requests and the fault event are off. Translation is not touched. Call it before the pages that a
  // dead kernel did not hand over are used again. Errors: ETIMEDOUT.
  Status quiesce();

  // Register by register, for the pieces of the driver.
  uint32_t read32(uint32_t offset) const { return window_.read32(offset); }
  uint64_t read64(uint32_t offset) const { return window_.read64(offset); }
  uint32_t peek32(uint32_t offset) const { return window_.peek32(offset); }  // without waiting for our own writes
  void write32(uint32_t offset, uint32_t value) { window_.write32(offset, value); }
  void write64(uint32_t offset, uint64_t value) { window_.write64(offset, value); }
  // Polls until condition(value of the 32-bit register) holds. ETIMEDOUT after ten seconds, EIO when the unit is gone.
  Status poll(uint32_t offset, const std::function<bool(uint32_t)>& condition, const char* what) const;
  Status poll64(uint32_t offset, const std::function<bool(uint64_t)>& condition, const char* what) const;

  // Of the ten seconds, for tests.
  void set_time_limit(std::chrono::nanoseconds limit) { limit_ = limit; }
  std::chrono::nanoseconds time_limit() const { return limit_; }

 private:
  UnitRegisters(platform::MmioWindow window, std::string name, Capabilities caps, uint32_t sticky);
  Status command(uint32_t one_shot, uint32_t set, uint32_t clear, const char* what);

  platform::MmioWindow window_;
  const std::string name_;
  const Capabilities caps_;
  std::chrono::nanoseconds limit_ = std::chrono::seconds(10);
  mutable sync::SpinLock lock_{"iommu.vtd.registers"};
  uint32_t sticky_ CW_GUARDED_BY(lock_);  // what every command is written with
};

}  // namespace causeway::iommu::vtd
