#include "kernel/dma_remapping.h"

#include <fmt/format.h>

#include <deque>
#include <map>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "hw/dmar.h"
#include "iommu/core.h"
#include "iommu/liveupdate/live_update.h"
#include "iommu/liveupdate/standing.h"
#include "iommu/pci_device.h"
#include "iommu/vtd/vtd_driver.h"
#include "sync/guarded.h"

namespace causeway::kernel {

namespace {

constexpr size_t kFaultsKept = 8;

bool has_units(const platform::Platform& platform) {
  hw::DmarHeader header;
  std::span<const std::byte> table = platform.firmware_table();
  if (table.size() < sizeof header) return false;
  std::memcpy(&header, table.data(), sizeof header);
  return std::memcmp(header.signature, "DMAR", sizeof header.signature) == 0;
}

iommu::vtd::VtdFaults faults_of(IommuSabotage sabotage) {
  iommu::vtd::VtdFaults faults;
  faults.skip_context_preserve = sabotage == IommuSabotage::kDropContext;
  faults.forget_domain_ids = sabotage == IommuSabotage::kReuseDid;
  faults.translation_off_at_shutdown = sabotage == IommuSabotage::kTeOff;
  faults.skip_flush = sabotage == IommuSabotage::kSkipFlush;
  return faults;
}

// IommuSabotage::kStaleRestore: what devices are using leads to what their neighbours had, and no TLB is told.
void make_stale(iommu::Domain& domain) {
  iommu::IoPageTable& table = *domain.page_table();
  std::vector<iommu::IoPageTable::Leaf> leaves;
  table.for_each_leaf([&](const iommu::IoPageTable::Leaf& leaf) {
    if ((leaf.prot & iommu::kWrite) != 0 && (leaves.empty() || leaf.size == leaves.front().size)) leaves.push_back(leaf);
    return true;
  });
  iommu::Gather never_flushed;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const iommu::IoPageTable::Leaf& leaf = leaves[i];
    uint64_t mapped = 0;
    table.unmap(leaf.iova, leaf.size, never_flushed);
    (void)table.map(leaf.iova, leaves[(i + 1) % leaves.size()].phys, leaf.size, leaf.prot, &mapped);
  }
  log::warn("kernel", "sabotage: {} translations are stale", leaves.size());
}

}  // namespace

bool set_iommu_sabotage(IommuOptions& options, std::string_view mode) {
  static const std::map<std::string_view, IommuSabotage> modes{
      {"drop-context", IommuSabotage::kDropContext}, {"reuse-did", IommuSabotage::kReuseDid},
      {"te-off", IommuSabotage::kTeOff},             {"skip-flush", IommuSabotage::kSkipFlush},
      {"stale-restore", IommuSabotage::kStaleRestore}};
  auto found = modes.find(mode);
  if (found == modes.end()) return false;
  options.sabotage = found->second;
  return true;
}

struct DmaRemapping::State {
  State(const Environment& env, const IommuOptions& opts)
      : environment(env),
        options(opts),
        pages(env.allocator, env.kho.is_enabled() ? &env.kho : nullptr),
        live_update(pages),
        core({.default_type = opts.passthrough ? iommu::DomainType::kIdentity
                              : opts.strict    ? iommu::DomainType::kDma
                                               : iommu::DomainType::kDmaFq}) {}
  ~State();

  Result<dma::IommuDma*> make_mappings(iommu::Group& group, bool restored);

  const Environment environment;
  const IommuOptions options;
  iommu::IommuPages pages;
  std::unique_ptr<iommu::vtd::VtdDriver> driver;  // outlives the domains
  iommu::LiveUpdate live_update;
  iommu::Core core;
  unsigned fault_handler = 0;
  struct Faults {
    uint64_t count = 0;
    std::deque<std::string> last;
  };
  sync::Guarded<Faults> faults{sync::LockName{"kernel.iommu.faults"}};

  // Null: the device's domain is the identity.
  dma::IommuDma* mappings_of(const iommu::Device& device) const {
    auto found = mappings.find(&device.group());
    return found == mappings.end() ? nullptr : found->second.get();
  }

  std::map<iommu::Group*, std::unique_ptr<dma::IommuDma>> mappings;
  std::map<Bdf, iommu::Device*> devices;
  std::optional<PhysAddr> standing;  // this kernel's arrays
};

DmaRemapping::State::~State() {
  if (driver != nullptr) core.remove_fault_handler(fault_handler);
}

DmaRemapping::DmaRemapping(std::unique_ptr<State> state) : state_(std::move(state)) {}
DmaRemapping::~DmaRemapping() = default;

Result<std::unique_ptr<DmaRemapping>> DmaRemapping::start(const Environment& environment,
                                                          const IommuOptions& options) {
  if (!has_units(environment.platform)) return nullptr;
  Result<PhysAddr> old = iommu::find_standing(environment.kho);
  if (old && !options.enabled)
    log::warn("kernel", "intel_iommu=off is not followed: devices that were handed over are being translated");
  if (!old && old.error().code == Errno{ENOENT} && !options.enabled) return nullptr;
  if (!old && old.error().code == Errno{ENOENT} && environment.devices_were_handed_over) {
    log::info("kernel", "devices that are not translated were handed over: the IOMMU stays off until the next cold boot");
    return nullptr;
  }

  auto state = std::make_unique<State>(environment, options);
  State& s = *state;
  Status read = old ? s.live_update.retrieve(iommu::Carrier::kStanding, *old)
                    : old.error().code == Errno{ENOENT} ? Status{} : Status(fail(old.error()));
  if (!read) {
    // Nobody knows what was handed over, so nobody gets anything: the units go on as they are.
    s.live_update.report_damage(fmt::format("the predecessor's IOMMU state: {}", to_string(read.error())));
    s.core.refuse_devices("the predecessor's IOMMU state cannot be read");
  }
  CW_POINT("kernel.iommu.after_retrieve");
  s.core.set_live_update(&s.live_update);
  s.driver = CW_TRY(iommu::vtd::VtdDriver::create(
      environment.platform, s.pages, &s.live_update,
      {.scalable = options.scalable,
       .on_fault = [raw = state.get()](const iommu::FaultReport& fault) { raw->core.report_fault(fault); }},
      faults_of(options.sabotage)));
  CW_POINT("kernel.iommu.after_units");
  s.core.register_driver(*s.driver);
  s.fault_handler = s.core.on_fault([raw = state.get()](const iommu::FaultReport& fault) {
    raw->faults.with([&](State::Faults& faults) {
      ++faults.count;
      faults.last.push_back(fault.text);
      if (faults.last.size() > kFaultsKept) faults.last.pop_front();
    });
  });
  if (environment.kho.is_enabled()) s.standing = CW_TRY(s.live_update.create(iommu::Carrier::kStanding));
  return std::unique_ptr<DmaRemapping>(new DmaRemapping(std::move(state)));
}

Result<dma::IommuDma*> DmaRemapping::State::make_mappings(iommu::Group& group, bool restored) {
  if (auto found = mappings.find(&group); found != mappings.end()) return found->second.get();
  iommu::Domain* domain = group.default_domain();
  if (domain == nullptr || domain->type() == iommu::DomainType::kIdentity) return nullptr;
  dma::IommuDmaOptions wanted;
  wanted.reserved = group.reserved_regions();
  wanted.forcedac = options.forcedac;
  wanted.restored = restored;
  auto made = CW_TRY(dma::IommuDma::create(environment.dma, *domain, wanted));
  return mappings.emplace(&group, std::move(made)).first->second.get();
}

Result<dma::IommuDma*> DmaRemapping::probe(const platform::PciFunction& function) {
  State& s = *state_;
  bool restored = s.live_update.find_device(0, function.bdf()) != nullptr;
  Result<iommu::Device*> device = s.core.probe_device(iommu::describe(function));
  if (!device) {
    if (device.error().code == Errno{ENODEV}) return nullptr;
    return fail(device.error());
  }
  iommu::Group& group = (*device)->group();
  CW_TRY(group.use_default_domain());
  s.devices[function.bdf()] = *device;
  CW_POINT("kernel.iommu.after_probe");
  return s.make_mappings(group, restored);
}

Status DmaRemapping::preserve(Bdf bdf) {
  State& s = *state_;
  auto found = s.devices.find(bdf);
  if (found == s.devices.end()) return {};
  if (!s.standing) return fail(EOPNOTSUPP, "there is no handover");
  iommu::Device& device = *found->second;
  iommu::Domain* domain = device.group().default_domain();
  if (domain->page_table() == nullptr) return fail(EOPNOTSUPP, "its domain is the identity");
  if (!s.live_update.is_preserved(*domain)) CW_TRY(s.live_update.preserve_domain(iommu::Carrier::kStanding, *domain));
  CW_POINT("kernel.iommu.after_preserve_domain");
  if (Status kept = s.live_update.preserve_device(iommu::Carrier::kStanding, *domain, device, 0); !kept) {
    s.live_update.unpreserve_domain(*domain);
    return kept;
  }
  if (dma::IommuDma* mappings = s.mappings_of(device)) mappings->set_preserved(true);
  return {};
}

void DmaRemapping::unpreserve(Bdf bdf) {
  State& s = *state_;
  auto found = s.devices.find(bdf);
  if (found == s.devices.end()) return;
  iommu::Device& device = *found->second;
  if (dma::IommuDma* mappings = s.mappings_of(device)) mappings->set_preserved(false);
  s.live_update.unpreserve_device(device);
  s.live_update.unpreserve_domain(*device.group().default_domain());
}

Status DmaRemapping::publish() {
  if (!state_->standing) return {};
  return iommu::publish_standing(state_->environment.kho, *state_->standing);
}

void DmaRemapping::handover_committed() {
  State& s = *state_;
  s.live_update.release(iommu::Carrier::kStanding);
  for (auto& [group, mappings] : s.mappings) {
    if (!mappings->is_restored()) continue;
    mappings->release_unclaimed();
    if (s.options.sabotage == IommuSabotage::kStaleRestore) make_stale(*group->default_domain());
  }
}

void DmaRemapping::shutdown() {
  if (Status done = state_->driver->shut_down(); !done) log::error("kernel", "IOMMU: {}", to_string(done.error()));
}
void DmaRemapping::undo_shutdown() {
  if (Status done = state_->driver->undo_shut_down(); !done)
    log::error("kernel", "IOMMU: {}", to_string(done.error()));
}

DmaRemappingStats DmaRemapping::stats() const {
  const State& s = *state_;
  DmaRemappingStats stats;
  stats.units = static_cast<unsigned>(s.driver->units().size());
  stats.devices = static_cast<unsigned>(s.devices.size());
  for (const auto& [bdf, device] : s.devices) {
    const dma::IommuDma* mappings = s.mappings_of(*device);
    stats.restored_devices += mappings != nullptr && mappings->is_restored();
  }
  for (const auto& [group, mappings] : s.mappings) stats.restored_domains += mappings->is_restored();
  stats.table_pages = s.pages.pages();
  stats.damage = s.live_update.damage();
  s.faults.with([&](const State::Faults& faults) {
    stats.fault_count = faults.count;
    stats.faults.assign(faults.last.begin(), faults.last.end());
  });
  return stats;
}

}  // namespace causeway::kernel
