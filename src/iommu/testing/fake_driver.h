// For tests: an IOMMU driver without hardware. It writes down what it is asked, fails where it is told to, and knows
// which domain each device, and each of its PASIDs, ends up on.
//
//   FakeDriver driver;
//   Core core;
//   core.register_driver(driver);
//   Device& nic = *must(core.probe_device(FakeDriver::device(1)));          // 00:01.0
//   driver.fail_attach(2, EIO);                                             // the second attach from now
//   EXPECT_THAT(driver.take_journal(), ElementsAre("attach 00:01.0 blocked from DMA-FQ#1"));
//   EXPECT_EQ(driver.on(nic), &driver.blocked_domain());
//
// Domains are memory (MapDomain), or an IoPageTable if `make_table` is set: then they can be preserved. Thread-safe but
// for the members that tests set.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "iommu/driver.h"
#include "iommu/map_domain.h"
#include "iommu/pt/io_page_table.h"
#include "sync/guarded.h"

namespace causeway::iommu::testing {

class FakeDriver;

class FakeDomain final : public Domain {
 public:
  FakeDomain(FakeDriver& driver, DomainType type, std::string name, std::unique_ptr<IoPageTable> table);
  ~FakeDomain() override;
  const std::string& name() const { return name_; }
  MapDomain& memory() { return memory_; }  // if it has no table

  DomainType type() const override { return type_; }
  uint64_t page_sizes() const override { return table_ ? table_->info().page_sizes : memory_.page_sizes(); }
  Aperture aperture() const override { return table_ ? table_->info().aperture : memory_.aperture(); }
  Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) override {
    if (!table_) return memory_.map(iova, phys, size, prot);
    uint64_t mapped = 0;
    Status done = table_->map(iova, phys, size, prot, &mapped);
    if (!done && mapped != 0) {
      Gather gather;
      table_->unmap(iova, mapped, gather);
      sync(gather);
    }
    return done;
  }
  void sync_map(Iova iova, uint64_t size) override { memory_.sync_map(iova, size); }
  uint64_t unmap(Iova iova, uint64_t size, Gather& gather) override {
    return table_ ? table_->unmap(iova, size, gather) : memory_.unmap(iova, size, gather);
  }
  void sync(Gather& gather) override;
  void flush_all() override { memory_.flush_all(); }
  void free_tables(FreeList& tables) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override {
    return table_ ? table_->iova_to_phys(iova) : memory_.iova_to_phys(iova);
  }
  const Driver* owner() const override;
  Status attach(Device& device, Domain* old) override;
  bool takes_pasids() const override;
  Status attach_pasid(Device& device, Pasid pasid, Domain* old) override;
  IoPageTable* page_table() override { return table_.get(); }

 private:
  FakeDriver& driver_;
  const DomainType type_;
  const std::string name_;
  std::unique_ptr<IoPageTable> table_;
  MapDomain memory_;
};

class FakeUnit final : public Unit {
 public:
  FakeUnit(FakeDriver& driver, std::string name, uint64_t token);
  uint64_t token() const { return token_; }
  Status preserve(abi::IommuHwSer& ser) override;
  void unpreserve(abi::IommuHwSer& ser) override;

 private:
  friend class FakeDriver;
  FakeDriver& driver_;
  const uint64_t token_;
  abi::IommuHwSer* record_ = nullptr;  // while it is preserved
};

class FakeDriver final : public Driver {
 public:
  // Which step fails; `nth` counts from now, 1 is the next one.
  enum class Step : uint8_t { kProbe, kAlloc, kAttach, kAttachPasid, kPreserveUnit, kPreserve, kAllocRestored, kRestore };

  // -- Set by tests, before they matter.
  bool pasids = true;            // domains take PASIDs
  bool hands_over = true;        // can_hand_over()
  bool failure_blocks = true;    // a failed attach leaves the device blocked; else on what it had
  unsigned max_pasids = 1 << 15;  // of devices with a PASID capability
  std::function<std::optional<DomainType>(const Device&)> insists;  // default_domain_type()
  std::function<bool(const Device&)> defers;                        // is_attach_deferred()
  std::map<Bdf, std::vector<ReservedRegion>> regions;
  std::function<Result<std::unique_ptr<IoPageTable>>()> make_table;  // of domains that have one
  IommuPages* pages = nullptr;                                       // what make_table takes tables from

  static DeviceInfo device(unsigned number) {
    Bdf bdf(0, number, 0);
    return {.bdf = bdf, .name = fmt::format("0000:{}", bdf)};
  }

  void fail(Step step, unsigned nth, int code) {
    state_.with([&](State& state) { state.failures[step] = {nth, code}; });
  }
  void fail_attach(unsigned nth, int code) { fail(Step::kAttach, nth, code); }
  void fail_attach_pasid(unsigned nth, int code) { fail(Step::kAttachPasid, nth, code); }
  // What it was asked since the last call.
  std::vector<std::string> take_journal() {
    return state_.with([](State& state) { return std::exchange(state.journal, {}); });
  }
  // Null: nothing yet.
  Domain* on(const Device& device, Pasid pasid = kNoPasid) const {
    return state_.with([&](const State& state) {
      auto at = state.on.find({device.bdf(), pasid});
      return at == state.on.end() ? nullptr : at->second;
    });
  }
  // Alive now, the two static ones not counted.
  unsigned domains() const {
    return state_.with([](const State& state) { return state.domains; });
  }
  FakeUnit& fake_unit() { return unit_; }

  // -- Driver.
  const char* name() const override { return "fake"; }
  Result<Unit*> probe_device(Device& device) override {
    note(fmt::format("probe {}", device.bdf()));
    CW_TRY(step(Step::kProbe));
    device.set_max_pasids(device.info().pasid_bits == 0 ? 0 : max_pasids);
    return &unit_;
  }
  void release_device(Device& device) override {
    note(fmt::format("release {}", device.bdf()));
    state_.with([&](State& state) {
      std::erase_if(state.on, [&](const auto& entry) { return entry.first.first == device.bdf(); });
    });
  }
  std::optional<DomainType> default_domain_type(const Device& device) override {
    return insists ? insists(device) : std::nullopt;
  }
  std::vector<ReservedRegion> reserved_regions(const Device& device) override {
    auto at = regions.find(device.bdf());
    return at == regions.end() ? std::vector<ReservedRegion>{} : at->second;
  }
  Result<std::unique_ptr<Domain>> alloc_paging(Device&, DomainType type, uint32_t flags) override {
    if (flags != 0) return causeway::fail(EOPNOTSUPP, "the fake IOMMU has no flags");
    CW_TRY(step(Step::kAlloc));
    return make_domain(type);
  }
  FakeDomain& identity_domain() override { return identity_; }
  FakeDomain& blocked_domain() override { return blocked_; }
  bool is_attach_deferred(const Device& device) override { return defers && defers(device); }

  bool can_hand_over() const override { return hands_over; }
  Status preserve_device(Device& device, Domain& domain, abi::DeviceSer& ser) override {
    note(fmt::format("preserve {}", device.bdf()));
    CW_TRY(step(Step::kPreserve));
    if (on(device) != &domain) return causeway::fail(EINVAL, "the device is not on that domain");
    // As if the context table of its bus had been made since the unit was preserved.
    const unsigned bit = device.bdf().bus() * 2u + (device.bdf().value() >> 7 & 1);
    unit_.record_->intel.context_tables_bitmap[bit / 64] |= uint64_t{1} << bit % 64;
    ser.map.attachment_id = 0x100u + device.bdf().value();
    return {};
  }
  void unpreserve_device(Device& device, abi::DeviceSer&) override { note(fmt::format("unpreserve {}", device.bdf())); }
  Result<std::unique_ptr<Domain>> alloc_restored(Device&, const abi::DeviceSer&, const abi::DomainSer&,
                                                 DomainType type) override {
    CW_TRY(step(Step::kAllocRestored));
    return make_domain(type);
  }
  Status restore_device(Device& device, Domain& domain, const abi::DeviceSer&) override {
    note(fmt::format("restore {} {}", device.bdf(), static_cast<FakeDomain&>(domain).name()));
    CW_TRY(step(Step::kRestore));
    state_.with([&](State& state) { state.on[{device.bdf(), kNoPasid}] = &domain; });
    return {};
  }

 private:
  friend class FakeDomain;
  friend class FakeUnit;
  struct Failure {
    unsigned nth = 0;
    int code = 0;
  };
  struct State {
    std::vector<std::string> journal;
    std::map<Step, Failure> failures;
    std::map<std::pair<Bdf, Pasid>, Domain*> on;
    unsigned domains = 0, made = 0;
  };

  void note(std::string line) {
    state_.with([&](State& state) { state.journal.push_back(std::move(line)); });
  }
  Status step(Step which) {
    int code = state_.with([&](State& state) {
      Failure& failure = state.failures[which];
      return failure.nth != 0 && --failure.nth == 0 ? failure.code : 0;
    });
    if (code != 0) return causeway::fail(code, "made to fail");
    return {};
  }
  Result<std::unique_ptr<Domain>> make_domain(DomainType type) {
    std::unique_ptr<IoPageTable> table;
    if (make_table) table = CW_TRY(make_table());
    unsigned number = state_.with([](State& state) {
      ++state.domains;
      return ++state.made;
    });
    return std::make_unique<FakeDomain>(*this, type, fmt::format("{}#{}", name_of(type), number), std::move(table));
  }
  Status attach(FakeDomain& domain, Device& device, Pasid pasid, Domain* old) {
    const char* from = old == nullptr ? "nothing" : static_cast<FakeDomain*>(old)->name().c_str();
    std::string line = pasid == kNoPasid
                           ? fmt::format("attach {} {} from {}", device.bdf(), domain.name(), from)
                           : fmt::format("attach {}+{} {} from {}", device.bdf(), pasid, domain.name(), from);
    Status done = step(pasid == kNoPasid ? Step::kAttach : Step::kAttachPasid);
    note(done ? line : line + ": fails");
    state_.with([&](State& state) {
      if (done) {
        state.on[{device.bdf(), pasid}] = &domain;
      } else if (failure_blocks) {
        state.on[{device.bdf(), pasid}] = &blocked_;
      }
    });
    return done;
  }

  sync::Guarded<State> state_{sync::LockName{"iommu.fake_driver"}};
  FakeUnit unit_{*this, "fake0", 0xfed9'0000};
  FakeDomain identity_{*this, DomainType::kIdentity, "identity", nullptr};
  FakeDomain blocked_{*this, DomainType::kBlocked, "blocked", nullptr};
};

inline FakeDomain::FakeDomain(FakeDriver& driver, DomainType type, std::string name, std::unique_ptr<IoPageTable> table)
    : driver_(driver),
      type_(type),
      name_(std::move(name)),
      table_(std::move(table)),
      memory_(MapDomain::Options{.type = type}) {}
inline FakeDomain::~FakeDomain() {
  if (type_ == DomainType::kIdentity || type_ == DomainType::kBlocked) return;
  driver_.state_.with([](FakeDriver::State& state) { --state.domains; });
}
inline void FakeDomain::sync(Gather& gather) {
  if (driver_.pages != nullptr) driver_.pages->free(gather.freed);
  memory_.sync(gather);
}
inline void FakeDomain::free_tables(FreeList& tables) {
  if (driver_.pages != nullptr) driver_.pages->free(tables);
}
inline const Driver* FakeDomain::owner() const { return &driver_; }
inline Status FakeDomain::attach(Device& device, Domain* old) { return driver_.attach(*this, device, kNoPasid, old); }
inline bool FakeDomain::takes_pasids() const { return driver_.pasids; }
inline Status FakeDomain::attach_pasid(Device& device, Pasid pasid, Domain* old) {
  if (!driver_.pasids) return fail(EOPNOTSUPP, "the fake IOMMU has no PASIDs");
  return driver_.attach(*this, device, pasid, old);
}

inline FakeUnit::FakeUnit(FakeDriver& driver, std::string name, uint64_t token)
    : Unit(driver, std::move(name)), driver_(driver), token_(token) {}
inline Status FakeUnit::preserve(abi::IommuHwSer& ser) {
  driver_.note("preserve unit");
  CW_TRY(driver_.step(FakeDriver::Step::kPreserveUnit));
  ser.token = token_;
  ser.type = abi::UnitType::kIntel;
  ser.intel.phys_addr = token_;
  record_ = &ser;
  return {};
}
inline void FakeUnit::unpreserve(abi::IommuHwSer&) {
  driver_.note("unpreserve unit");
  record_ = nullptr;
}

}  // namespace causeway::iommu::testing
