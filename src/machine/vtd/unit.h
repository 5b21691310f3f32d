// A VT-d remapping unit, built from hw/vtd.h alone: registers, caches, table walks and a queue of commands.
//
//   Unit unit(spec, {index, bus.iommu(index), interrupts, regions, faults, lines});
//   unit.add_function(engine);                         // a device behind it
//   bus.attach_registers(unit);
//   Unit::Answer answer = unit.ask({bdf, std::nullopt, address, Access::kRead});   // what ports do on a miss
//
// It behaves as the specification allows and is as unkind as it may be: nothing is ever dropped from a cache but by
// an invalidation, and what software must never do is reported (reports.h).
//
// Threads: registers and commands on the bus thread, ask() and check() on DMA threads inside their pass, one lock over
// caches, faults and reports. A change of what is cached raises epoch() under that lock; whoever keeps an answer drops
// it when the epoch has moved. Commands that drain wait for the passes, without the lock.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "machine/fault_injector.h"
#include "machine/mmio_target.h"
#include "machine/pci_function.h"
#include "machine/region_map.h"
#include "machine/vtd/context_walk.h"
#include "machine/vtd/entry_caches.h"
#include "machine/vtd/fault_log.h"
#include "machine/vtd/invalidation_queue.h"
#include "machine/vtd/iommu_spec.h"
#include "machine/vtd/iotlb.h"
#include "machine/vtd/page_requests.h"
#include "machine/vtd/reports.h"

namespace causeway::machine::vtd {

class Port;

class Unit final : public MmioTarget, private InvalidationQueue::Host {
 public:
  struct Environment {
    unsigned index;
    std::byte* page;  // the registers as kernels see them
    InterruptSink& interrupts;
    RegionMap& regions;
    FaultInjector& faults;
    LineFlushes* lines = nullptr;
  };
  Unit(const IommuSpec& spec, const Environment& environment);
  ~Unit() override;

  unsigned index() const { return index_; }
  const IommuSpec& spec() const { return spec_; }
  // Before the bus starts.
  void add_function(const PciFunction& function) { functions_.push_back(&function); }
  void add_port(Port& port);
  void remove_port(Port& port);

  PhysAddr mmio_base() const override { return base_; }
  uint64_t mmio_size() const override { return hw::vtd::kRegisterBytes; }
  bool write_mmio(uint32_t offset, uint32_t width, uint64_t value, const char** why) override;
  uint64_t read_mmio(uint32_t offset, uint32_t width) override;

  bool enabled() const { return enabled_.load(std::memory_order_seq_cst); }
  uint64_t epoch() const { return epoch_.load(std::memory_order_seq_cst); }
  struct Question {
    Bdf requester;
    std::optional<uint32_t> pasid;
    uint64_t address;
    Access access;
    bool ahead = false;  // the device asks for a translation to keep
  };
  struct Answer {
    Leaf leaf;
    Iotlb::Tag tag{};
    bool pass_through = false;
    uint64_t epoch = 0;
  };
  Answer ask(const Question& question);
  // What of the tables, and of their root, a kept translation was found to agree with.
  struct Agreement {
    uint64_t root = 0;
    WalkPath path;
  };
  // A translation kept from an earlier answer was used: compares it with the tables, if the unit itself still has it.
  // `agreement` is the caller's, of this page and this translation: while nothing of it has changed, nothing else needs
  // to be looked at.
  void check(const Question& question, const Answer& used, Agreement& agreement);
  // The same for what a device keeps. Called under the lock without which the device cannot lose it.
  void check_device(const Question& question, const Leaf& used, Agreement& agreement);
  unsigned strict() const { return spec_.strict; }
  // A device asks for a page, inside its pass. The answer is there at once if it is refused, and comes later if software
  // has to give it; until then, or until forget_page_request(), `answer` must stay where it is.
  void request_page(const Question& question, std::atomic<PageAnswer>& answer);
  void forget_page_request(const std::atomic<PageAnswer>& answer);

  void append_status(std::string& text, const std::string& name) const;
  uint64_t reports() const;
  uint64_t reports(ReportKind kind) const;

 private:
  // unit.cc
  Binding find_binding_locked(Bdf requester, std::optional<uint32_t> pasid);
  Binding read_binding(Bdf requester, std::optional<uint32_t> pasid) const {
    return read_binding(memory_, root_.load(std::memory_order_acquire), requester, pasid);
  }
  Binding read_binding(const TableMemory& memory, uint64_t root, Bdf requester, std::optional<uint32_t> pasid) const;
  Leaf fresh(const Question& question) const {
    return fresh(memory_, root_.load(std::memory_order_acquire), question);
  }
  Leaf fresh(const TableMemory& memory, uint64_t root, const Question& question) const;
  bool agrees(const Question& question, const Leaf& used, Agreement& agreement) const;
  Answer refuse_locked(const Question& question, uint8_t reason, bool no_record);
  Leaf look_up_locked(const Question& question, const Binding& binding);
  Leaf fill_locked(const Question& question, const Binding& binding);
  const LastTable* known_table_locked(const Question& question, const Binding& binding);
  bool points_to(uint64_t parent, uint64_t table, bool* elsewhere) const;
  void report_locked(ReportKind kind, const Question& question, uint64_t cached, uint64_t tables);
  // unit_page_requests.cc
  ScalableContext find_context_locked(Bdf requester);
  Outcome respond_to_page(const hw::vtd::Descriptor& descriptor);
  void refuse_page_requests_locked();
  // registers.cc
  void write32(uint32_t offset, uint32_t value);
  void write64(uint32_t offset, uint64_t value);
  void command(uint32_t value);
  void set_translation(bool on);
  void set_root();
  void context_command(uint64_t value);
  void iotlb_command(uint64_t value);
  // invalidation.cc
  Outcome execute(const hw::vtd::Descriptor& descriptor) override;
  void drain() override { regions_.drain(); }
  bool needs_wide_descriptors() const override { return hw::vtd::RootScalable::get(root_.load()) != 0; }
  void raise_queue_error(uint64_t bit) override;
  Outcome invalidate_contexts(uint64_t granularity, uint16_t domain, uint16_t source, unsigned mask);
  Outcome invalidate_iotlb(uint64_t granularity, uint16_t domain, uint64_t address);
  Outcome invalidate_pasid_iotlb(uint64_t granularity, Iotlb::Tag tag, uint64_t address);
  Outcome invalidate_pasid_cache(uint64_t granularity, uint16_t domain, uint32_t pasid);
  Outcome invalidate_device_tlb(uint16_t source, uint32_t pasid, uint64_t address, bool large);
  void drop_pages_locked(Iotlb::Tag tag, uint64_t address);
  void look_for_dropped_contexts_locked();
  void look_for_changed_translations_locked();
  void changed_locked() { epoch_.fetch_add(1, std::memory_order_seq_cst); }
  bool scalable() const { return hw::vtd::RootScalable::get(root_.load(std::memory_order_relaxed)) != 0; }

  const unsigned index_;
  const IommuSpec spec_;
  const Traits traits_;
  const PhysAddr base_;
  RegisterPage page_;
  RegionMap& regions_;
  FaultInjector& injector_;
  TableMemory memory_;
  mutable Gate gate_;  // the bus thread's
  std::vector<const PciFunction*> functions_;

  std::atomic<bool> enabled_{false};
  std::atomic<uint64_t> root_{0};  // latched
  std::atomic<uint64_t> epoch_{1};
  uint64_t root_register_ = 0;  // the bus thread's, as what follows
  uint64_t iva_ = 0;
  uint32_t status_ = 0;
  InvalidationQueue queue_;

  mutable std::mutex mutex_;
  EntryCaches caches_;
  Iotlb iotlb_;
  FaultLog log_;
  PageRequests page_requests_;
  Reports reports_;
  uint64_t hits_ = 0;
  uint64_t misses_ = 0;
  uint64_t invalidations_ = 0;
  uint64_t off_transitions_ = 0;

  mutable std::mutex ports_mutex_;
  std::vector<Port*> ports_;
  uint64_t gone_translations_ = 0;  // of ports that have gone
  uint64_t gone_hits_ = 0;
};

}  // namespace causeway::machine::vtd
