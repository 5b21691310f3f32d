// The smallest driver of a remapping unit, for tests: registers, raw tables in RAM, the queue.
//
//   RawIommu iommu(kernel);
//   iommu.start();                                   // root, queue, translation on
//   iommu.set_context(bdf, top, 7);
//   iommu.map(top, 0x1000, 0x40'0000);
//   iommu.submit({iommu.iotlb_page(7, 0x1000)});     // and waits
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <initializer_list>
#include <vector>

#include "hw/vtd.h"
#include "machine/testing/raw_kernel.h"

namespace causeway::machine::testing {

namespace vt = hw::vtd;

enum class Mode : bool { kLegacy, kScalable };

class RawIommu {
 public:
  // Tables are taken from `pool` on, upwards.
  explicit RawIommu(RawKernel& kernel, Mode mode = Mode::kLegacy, unsigned index = 0,
                    PhysAddr pool = PhysAddr{0x200'0000})
      : kernel_(kernel), mode_(mode), base_(hw::kIommuBase + index * kPageSize), next_(pool) {
    root_ = page();
    ring_ = page();
    page();
    status_ = page();
  }

  // -- Registers
  uint32_t read32(uint32_t offset) { return static_cast<uint32_t>(kernel_.read(base_ + offset, 4)); }
  uint64_t read64(uint32_t offset) { return kernel_.read(base_ + offset, 8); }
  void write32(uint32_t offset, uint32_t value) { kernel_.write(base_ + offset, value, 4); }
  void write64(uint32_t offset, uint64_t value) { kernel_.write(base_ + offset, value, 8); }
  void set_root(PhysAddr root) {
    write64(vt::kRootTable, root.value() | vt::RootScalable::make(mode_ == Mode::kScalable));
    write32(vt::kGlobalCommand, state_ | static_cast<uint32_t>(vt::GlobalSetRoot::kMask));
  }
  void set_translation(bool on) {
    state_ = static_cast<uint32_t>(vt::GlobalTranslation::set(state_, on));
    write32(vt::kGlobalCommand, state_);
    EXPECT_EQ(vt::GlobalTranslation::get(read32(vt::kGlobalStatus)), on ? 1u : 0u);
  }
  void start_queue() {
    write64(vt::kQueueTail, 0);
    write64(vt::kQueueAddress, ring_.value() | vt::QueueWide::make(wide()));
    state_ |= static_cast<uint32_t>(vt::GlobalQueue::kMask);
    write32(vt::kGlobalCommand, state_);
    tail_ = 0;
  }
  void start() {
    start_queue();
    set_root(root_);
    set_translation(true);
  }

  // -- Tables
  PhysAddr page() {
    PhysAddr taken = next_;
    next_ = next_ + kPageSize;
    std::memset(kernel_.ram(taken), 0, kPageSize);
    return taken;
  }
  uint64_t load(PhysAddr at) { return word(at).load(std::memory_order_acquire); }
  void store(PhysAddr at, uint64_t value) { word(at).store(value, std::memory_order_release); }
  PhysAddr root() const { return root_; }
  // The table that an entry points to; makes one.
  PhysAddr below(PhysAddr entry, uint64_t bits) {
    uint64_t value = load(entry);
    if (value == 0) store(entry, value = page().value() | bits);
    return PhysAddr(value & vt::kEntryAddress);
  }
  PhysAddr context_entry(Bdf bdf) {
    unsigned devfn = bdf.value() & 0xff;
    if (mode_ == Mode::kLegacy) return below(root_ + 16 * bdf.bus(), 1) + 16 * devfn;
    return below(root_ + 16 * bdf.bus() + (devfn >= 0x80 ? 8 : 0), 1) + 32 * (devfn & 0x7f);
  }
  void set_context(Bdf bdf, PhysAddr top, uint16_t domain, uint64_t type = vt::kTranslateUntranslated) {
    PhysAddr entry = context_entry(bdf);
    store(entry + 8, vt::ContextWidth::make(2) | vt::ContextDomain::make(domain));
    store(entry, top.value() | vt::ContextTranslation::make(type) | 1);
  }
  void set_scalable_context(Bdf bdf, uint64_t more = 0) {
    PhysAddr entry = context_entry(bdf);
    PhysAddr directory = (load(entry) & 1) != 0 ? PhysAddr(load(entry) & vt::kAddressMask) : page();
    store(entry + 8, 0);
    store(entry, directory.value() | more | 1);
  }
  PhysAddr pasid_entry(Bdf bdf, uint32_t pasid) {
    PhysAddr directory(load(context_entry(bdf)) & vt::kAddressMask);
    return below(directory + 8 * (pasid / 64), 1) + 64 * (pasid % 64);
  }
  void set_second_stage(Bdf bdf, uint32_t pasid, PhysAddr top, uint16_t domain, bool dirty = false) {
    PhysAddr entry = pasid_entry(bdf, pasid);
    store(entry + 8, vt::PasidDomain::make(domain));
    store(entry, top.value() | vt::PasidWidth::make(2) | vt::PasidType::make(vt::kSecondStage) |
                     vt::PasidSecondStageDirty::make(dirty) | 1);
  }
  void set_first_stage(Bdf bdf, uint32_t pasid, PhysAddr top, uint16_t domain) {
    PhysAddr entry = pasid_entry(bdf, pasid);
    store(entry + 8, vt::PasidDomain::make(domain));
    store(entry + 16, top.value());
    store(entry, vt::PasidType::make(vt::kFirstStage) | 1);
  }
  // The entry for an address, of a table of `level`; makes what is above it. `bits` of tables.
  PhysAddr slot(PhysAddr top, uint64_t iova, unsigned level = 0, uint64_t bits = 3) {
    PhysAddr table = top;
    for (unsigned at = 3; at > level; --at) table = below(table + 8 * (iova >> (12 + 9 * at) & 0x1ff), bits);
    return table + 8 * (iova >> (12 + 9 * level) & 0x1ff);
  }
  void map(PhysAddr top, uint64_t iova, uint64_t phys, uint64_t bits = 3) { store(slot(top, iova), phys | bits); }
  void map_first(PhysAddr top, uint64_t iova, uint64_t phys, uint64_t bits = 7) {
    store(slot(top, iova, 0, 7), phys | bits);
  }
  void unmap(PhysAddr top, uint64_t iova) { store(slot(top, iova), 0); }

  // -- The queue
  static vt::Descriptor context_global() { return {{vt::kContextCache | gran(vt::kGlobal), 0}}; }
  static vt::Descriptor context_device(Bdf bdf, uint16_t domain) {
    return {{vt::kContextCache | gran(vt::kDevice) | vt::DescriptorDomain::make(domain) |
                 vt::ContextCacheSource::make(bdf.value()),
             0}};
  }
  static vt::Descriptor iotlb_global() { return {{vt::kIotlb | gran(vt::kGlobal) | kDrain, 0}}; }
  static vt::Descriptor iotlb_domain(uint16_t domain) {
    return {{vt::kIotlb | gran(vt::kDomain) | kDrain | vt::DescriptorDomain::make(domain), 0}};
  }
  static vt::Descriptor iotlb_page(uint16_t domain, uint64_t iova, unsigned order = 0, bool hint = false) {
    return {{vt::kIotlb | gran(vt::kPage) | kDrain | vt::DescriptorDomain::make(domain),
             iova | vt::IvaHint::make(hint) | vt::IvaMask::make(order)}};
  }
  static vt::Descriptor pasid_iotlb(uint16_t domain, uint32_t pasid) {
    return {{vt::kPasidIotlb | gran(vt::kPasidAll) | vt::DescriptorDomain::make(domain) |
                 vt::DescriptorPasid::make(pasid),
             0}};
  }
  static vt::Descriptor pasid_cache_global() { return {{vt::kPasidCache | gran(vt::kCacheGlobal), 0}}; }
  static vt::Descriptor pasid_cache(uint16_t domain, uint32_t pasid) {
    return {{vt::kPasidCache | gran(vt::kCachePasid) | vt::DescriptorDomain::make(domain) |
                 vt::DescriptorPasid::make(pasid),
             0}};
  }
  static vt::Descriptor device_tlb(Bdf bdf, uint64_t iova) {
    return {{vt::kDeviceTlb | vt::DeviceTlbSource::make(bdf.value()), iova}};
  }
  // Puts descriptors and a wait behind them into the ring; the wait's status word becomes 2.
  void post(const std::vector<vt::Descriptor>& descriptors) {
    for (const vt::Descriptor& descriptor : descriptors) put(descriptor);
    store32(status_, 1);
    put({{vt::kWait | vt::WaitStatusWrite::make(1) | vt::WaitFence::make(1) | vt::WaitData::make(2), status_.value()}});
    write64(vt::kQueueTail, tail_);
  }
  bool done() { return load32(status_) == 2; }
  void submit(const std::vector<vt::Descriptor>& descriptors) {
    post(descriptors);
    kernel_.flush();
    EXPECT_TRUE(done()) << "status " << read32(vt::kFaultStatus);
  }
  void put(const vt::Descriptor& descriptor) {
    store(ring_ + tail_, descriptor.w[0]);
    store(ring_ + tail_ + 8, descriptor.w[1]);
    if (wide()) {
      store(ring_ + tail_ + 16, 0);
      store(ring_ + tail_ + 24, 0);
    }
    tail_ = (tail_ + slot_bytes()) % kPageSize;
  }
  PhysAddr ring() const { return ring_; }
  uint64_t tail() const { return tail_; }
  uint64_t slot_bytes() const { return wide() ? 32 : 16; }
  uint32_t load32(PhysAddr at) {
    return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(kernel_.ram(at))).load(std::memory_order_acquire);
  }
  void store32(PhysAddr at, uint32_t value) {
    std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(kernel_.ram(at))).store(value, std::memory_order_release);
  }

  // -- Faults
  uint64_t record(unsigned index) { return read64(vt::kFaultRecordOffset + index * vt::kFaultRecordBytes + 8); }
  uint64_t record_address(unsigned index) { return read64(vt::kFaultRecordOffset + index * vt::kFaultRecordBytes); }
  void clear_record(unsigned index) {
    write32(vt::kFaultRecordOffset + index * vt::kFaultRecordBytes + 12, 0x8000'0000u);
  }

 private:
  static constexpr uint64_t kDrain = vt::IotlbDescriptorDrainReads::kMask | vt::IotlbDescriptorDrainWrites::kMask;
  static uint64_t gran(uint64_t value) { return vt::DescriptorGranularity::make(value); }
  bool wide() const { return mode_ == Mode::kScalable; }
  std::atomic_ref<uint64_t> word(PhysAddr at) {
    return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(kernel_.ram(at)));
  }
  RawKernel& kernel_;
  const Mode mode_;
  const PhysAddr base_;
  PhysAddr next_, root_, ring_, status_;
  uint32_t state_ = 0;
  uint64_t tail_ = 0;
};

}  // namespace causeway::machine::testing
