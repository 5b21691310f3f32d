// A remapping unit without a machine around it, for tests and benchmarks of one port.
//
//   LocalUnit local({.scalable = true});
//   local.start(root, true);
//   DmaPort port(local.regions, local.remapping, Bdf(0, 1, 0));
#pragma once

#include <cstring>

#include "hw/vtd.h"
#include "machine/dma_port.h"
#include "machine/vtd/remapping.h"

namespace causeway::machine::testing {

class LocalUnit {
 public:
  explicit LocalUnit(const IommuSpec& spec = {}) {
    (void)regions.add_boot_ram(MiB(128));
    (void)remapping.add(spec, {0, bus.iommu(0), interrupts, regions, faults, nullptr});
  }
  vtd::Unit& unit() { return *remapping.units().front(); }
  PhysAddr page() {
    PhysAddr taken = next_;
    next_ = next_ + kPageSize;
    return taken;
  }
  uint64_t load(PhysAddr at) { return *reinterpret_cast<uint64_t*>(regions.find(at).data); }
  void store(PhysAddr at, uint64_t value) { *reinterpret_cast<uint64_t*>(regions.find(at).data) = value; }
  void write(uint32_t offset, uint32_t width, uint64_t value) {
    const char* why = "";
    (void)unit().write_mmio(offset, width, value, &why);
  }
  void start(PhysAddr root, bool scalable) {
    write(hw::vtd::kRootTable, 8, root.value() | hw::vtd::RootScalable::make(scalable));
    write(hw::vtd::kGlobalCommand, 4, hw::vtd::GlobalSetRoot::kMask);
    write(hw::vtd::kGlobalCommand, 4, hw::vtd::GlobalTranslation::kMask);
  }
  // One page of a tree of four levels.
  void map(PhysAddr top, uint64_t iova, uint64_t leaf, uint64_t table_bits) {
    PhysAddr table = top;
    for (unsigned level = 3; level > 0; --level) {
      PhysAddr entry = table + 8 * (iova >> (12 + 9 * level) & 0x1ff);
      if (load(entry) == 0) store(entry, page().value() | table_bits);
      table = PhysAddr(load(entry) & hw::vtd::kEntryAddress);
    }
    store(leaf_at(top, iova), leaf);
  }
  PhysAddr leaf_at(PhysAddr top, uint64_t iova) {
    PhysAddr table = top;
    for (unsigned level = 3; level > 0; --level)
      table = PhysAddr(load(table + 8 * (iova >> (12 + 9 * level) & 0x1ff)) & hw::vtd::kEntryAddress);
    return table + 8 * (iova >> 12 & 0x1ff);
  }
  // The reason of the newest fault.
  uint64_t last_reason(unsigned records) {
    RegisterPage registers(bus.iommu(0));
    for (unsigned i = records; i-- > 0;) {
      uint64_t record = registers.get64(hw::vtd::kFaultRecordOffset + 16 * i + 8);
      if (hw::vtd::RecordFault::get(record) != 0) return hw::vtd::RecordReason::get(record);
    }
    return 0;
  }

  BusMemory bus = *BusMemory::create();
  RegionMap regions{bus};
  InterruptSink interrupts{bus.interrupt_mailbox()};
  FaultInjector faults;
  vtd::Remapping remapping;

 private:
  PhysAddr next_{0x10'0000};
};

}  // namespace causeway::machine::testing
