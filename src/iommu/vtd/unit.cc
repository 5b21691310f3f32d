#include "iommu/vtd/unit.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/point.h"
#include "iommu/vtd/pasid_table.h"

namespace causeway::iommu::vtd {

VtdUnit::VtdUnit(Driver& driver, Environment& environment, const DmarUnit& found, unsigned index,
                 std::unique_ptr<UnitRegisters> regs)
    : Unit(driver, regs->name()), environment_(environment), found_(found), index_(index), regs_(std::move(regs)) {
  TableMemory::FlushCache flush_cache;
  if (!caps().coherent())
    flush_cache = [&environment](const void* from, uint64_t bytes) {
      if (environment.options.flush_cache) environment.options.flush_cache(from, bytes);
    };
  memory_ = std::make_unique<TableMemory>(environment_.pages, std::move(flush_cache));
  ids_ = std::make_unique<DomainIds>(caps().domains());
}

Result<std::unique_ptr<VtdUnit>> VtdUnit::create(Driver& driver, Environment& environment, const DmarUnit& found,
                                                 unsigned index) {
  auto window = environment.platform.mmio().window(found.register_base, hw::vtd::kRegisterBytes);
  auto regs = CW_TRY(UnitRegisters::create(window, fmt::format("dmar{}", index)));
  return std::unique_ptr<VtdUnit>(new VtdUnit(driver, environment, found, index, std::move(regs)));
}

Status VtdUnit::prepare(bool old_state_unreadable) {
  // The old kernel's queue and events write to memory that is not theirs any more.
  old_page_requests_ = PageRequestQueue::old_ring(*regs_);
  CW_TRY(regs_->quiesce());
  const bool translating = regs_->translation_enabled();
  LiveUpdate* live_update = environment_.live_update;
  const abi::IommuHwSer* ser =
      live_update == nullptr ? nullptr : live_update->find_unit(register_base().value(), abi::UnitType::kIntel);

  // A crashed kernel handed nothing over in an orderly way, whatever it had published: what its devices use is copied.
  if (environment_.options.crash_kernel && translating) {
    if (Status copied = copy_crashed(); !copied) {
      log::warn("iommu", "{}: the old tables are not copied ({}); translation starts anew", name(), to_string(copied.error()));
      CW_TRY(make_fresh());
    }
  } else if (ser != nullptr && !environment_.options.crash_kernel) {
    CW_TRY(adopt(*ser));
  } else if (translating && old_state_unreadable) {
    return fail(EIO, "it translates, and what it translates for cannot be read");
  } else {
    CW_TRY(make_fresh());
  }
  invalidator_ = CW_TRY(Invalidator::create(*regs_, environment_.pages,
                                            {.wide = scalable(), .is_present = [environment = &environment_](Bdf bdf) {
                                               return environment->is_present(bdf);
                                             }}));
  flush_ = std::make_unique<Flush>(*regs_, *invalidator_, &environment_.left_out);
  return {};
}

Status VtdUnit::make_fresh() {
  CW_TRY(regs_->disable_translation());
  mode_ = environment_.options.scalable && caps().scalable() && caps().queued_invalidation() ? TableMode::kScalable
                                                                                              : TableMode::kLegacy;
  root_ = CW_TRY(RootTable::create(*memory_, mode_));
  return {};
}

Status VtdUnit::copy_crashed() {
  const UnitRegisters::Root old = CW_TRY(regs_->root());
  const bool wanted = environment_.options.scalable && caps().scalable() && caps().queued_invalidation();
  if ((old.mode == TableMode::kScalable) != wanted) return fail(EINVAL, "the old tables are of the other mode");
  mode_ = old.mode;
  auto reserve = [this](DomainId id) {
    // Several devices have the same one.
    if (id != kSharedDomainId && !ids_->is_taken(id)) (void)ids_->reserve(id);
  };
  root_ = CW_TRY(RootTable::copy(*memory_, mode_, old.address, [&](Bdf, ContextSlot slot) {
    if (!scalable()) return reserve(slot.legacy().domain);
    // In the old kernel's memory, and copied with nothing: its entry leads there until the device has a driver again.
    PasidTable::visit_crashed(environment_.pages, slot.scalable(),
                              [&](const PasidContext& entry) { reserve(entry.domain); });
  }));
  return {};
}

Status VtdUnit::start() {
  CW_TRY(regs_->flush_write_buffer());
  CW_TRY(regs_->set_root(root_->phys(), mode_));
  CW_POINT("iommu.vtd.unit.root_set");
  // One that was adopted has had entries cleared, whatever its hardware does by itself.
  if (!caps().set_root_invalidates() || adopted_) CW_TRY(flush_->flush_all(mode_));
  auto report = [environment = &environment_](const FaultReport& fault) {
    if (environment->options.on_fault) environment->options.on_fault(fault);
  };
  faults_ = CW_TRY(FaultLog::create(*regs_, environment_.platform.interrupts(), report));
  if (scalable() && caps().page_requests()) {
    // Entries of devices that went on have been cleared of the right to ask, and that is flushed.
    if (adopted_) PageRequestQueue::release_old_ring(environment_.pages, old_page_requests_);
    page_requests_ = CW_TRY(
        PageRequestQueue::create(*regs_, environment_.pages, *flush_, environment_.platform.interrupts()));
  }
  CW_TRY(regs_->disable_protected_memory());
  CW_TRY(regs_->enable_translation());
  CW_POINT("iommu.vtd.unit.started");
  usable_ = true;
  log::info("iommu", "{}: {} mode{}, {}", name(), scalable() ? "scalable" : "legacy",
            adopted_ ? ", taken over with translation on" : "", caps().describe());
  return {};
}

Status VtdUnit::flush_new_context(Bdf source, DomainId domain) {
  // With caching mode what was not present is cached too, under id 0.
  if (!caps().caching_mode()) return flush_->flush_write_buffer();
  CW_TRY(flush_->flush_context_device(DomainId(hw::vtd::kReservedDomainId), source));
  return flush_->flush_iotlb_domain(domain);
}

Status VtdUnit::flush_old_context(Bdf source, DomainId domain) {
  CW_TRY(flush_->flush_context_device(domain, source));
  return flush_->flush_iotlb_domain(domain);
}

Status VtdUnit::flush_new_pasid(DomainId domain, Pasid pasid) {
  if (!caps().caching_mode()) return flush_->flush_write_buffer();
  FlushBatch batch(*flush_);
  batch.pasid_cache(domain, pasid);
  batch.pasid_iotlb(domain, pasid);
  return batch.submit();
}

}  // namespace causeway::iommu::vtd
