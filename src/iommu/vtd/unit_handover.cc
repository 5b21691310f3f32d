// What a unit does for the kernel after this one.
#include <cstring>
#include <utility>
#include <vector>

#include "base/point.h"
#include "iommu/vtd/unit.h"

namespace causeway::iommu::vtd {

Status VtdUnit::preserve(abi::IommuHwSer& ser) {
  if (!usable_) return fail(EOPNOTSUPP, "the unit could not be taken over itself");
  CW_FAIL_POINT("iommu.vtd.unit.preserve");
  // Called for every table there will be, too, before the root points to it. It gets into the record with the next device:
  // until then none that is preserved needs it.
  CW_TRY(root_->preserve([this](unsigned table) { preserved_tables_.with([&](auto& tables) { tables.set(table); }); }));
  if (page_requests_ != nullptr) {
    if (Status kept = page_requests_->preserve(); !kept) {
      root_->unpreserve();
      return kept;
    }
  }
  if (environment_.faults.skip_context_preserve)
    root_->for_each_table([this](unsigned, TableWord* words) { environment_.pages.unpreserve(words); });
  ser.token = register_base().value();
  ser.type = abi::UnitType::kIntel;
  ser.intel = {};
  ser.intel.phys_addr = register_base().value();
  ser.intel.root_table = root_->phys().value();
  record_ = &ser;
  update_record();
  return {};
}

void VtdUnit::unpreserve(abi::IommuHwSer&) {
  record_ = nullptr;
  root_->unpreserve();
  if (page_requests_ != nullptr) page_requests_->unpreserve();
  preserved_tables_.with([](auto& tables) { tables = {}; });
}

void VtdUnit::update_record() {
  if (record_ == nullptr) return;
  RootTable::Bitmap tables = preserved_tables_.with([](const auto& now) { return now; });
  std::memcpy(&record_->intel.context_tables_bitmap, tables.words, sizeof(tables.words));
}

Status VtdUnit::shut_down(const std::optional<std::set<Bdf>>& keep) {
  // Whatever it translates for is not ours.
  if (!usable_) return {};
  shut_down_ = {};
  if (!keep) {
    CW_TRY(regs_->disable_translation());
    shut_down_.translation_off = true;
    return regs_->disable_protected_memory();
  }
  shut_down_.scrub = keep_alone(*keep, Aliases::kListed);
  CW_POINT("iommu.vtd.unit.shutdown_cleared");
  std::vector<bool> used(RootTable::kTables);
  root_->for_each_present([&](Bdf bdf, ContextSlot) { used[RootTable::table_of(bdf, mode_)] = true; });
  root_->for_each_table([&](unsigned table, TableWord* words) {
    if (!used[table]) shut_down_.unlinked.emplace_back(table, words);
  });
  for (const auto& [table, words] : shut_down_.unlinked) root_->unlink(table);
  CW_POINT("iommu.vtd.unit.shutdown_unlinked");
  // Device-TLBs are left alone: what preserved devices have cached stays right, the others' may be asleep.
  CW_TRY(flush_->flush_all(mode_));
  return regs_->disable_protected_memory();
}

Status VtdUnit::undo_shut_down() {
  if (!usable_) return {};
  const ShutDown done = std::exchange(shut_down_, {});
  if (done.translation_off) return regs_->enable_translation();
  for (const auto& [table, words] : done.unlinked) CW_TRY(root_->relink(table, words));
  for (const CutOff& entry : done.scrub.cut_off) {
    std::optional<ContextSlot> slot = root_->find(entry.bdf);
    if (!slot || slot->present()) continue;
    if (scalable()) {
      slot->set(entry.scalable);
    } else {
      slot->set(entry.legacy);
    }
  }
  for (Bdf bdf : done.scrub.silenced)
    if (auto slot = root_->find(bdf); slot && slot->present()) slot->set_page_requests(true);
  return flush_->flush_all(mode_);
}

}  // namespace causeway::iommu::vtd
