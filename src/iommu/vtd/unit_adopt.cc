// Taking a unit over from the kernel before: its tables go on being used, and the hardware never stops translating.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "iommu/vtd/unit.h"

namespace causeway::iommu::vtd {

namespace {

RootTable::Bitmap bitmap_of(const abi::IommuHwSer& ser) {
  RootTable::Bitmap tables;
  static_assert(sizeof(tables.words) == sizeof(ser.intel.context_tables_bitmap));
  std::memcpy(tables.words, &ser.intel.context_tables_bitmap, sizeof(tables.words));
  return tables;
}

// Requests under another id than their function's own find an entry of their own, which says the same.
bool is_alias(const ContextSlot& slot, const ContextSlot& of) {
  if (slot.mode() == TableMode::kScalable) return slot.scalable().directory == of.scalable().directory;
  return slot.legacy() == of.legacy();
}

}  // namespace

Status VtdUnit::check_record(const abi::IommuHwSer& ser, const UnitRegisters::Root& root,
                             const std::set<Bdf>& preserved) const {
  if (ser.intel.root_table != root.address.value())
    return fail(EBADMSG, "the unit walks another root table than the one handed over");
  const RootTable::Bitmap tables = bitmap_of(ser);
  for (Bdf bdf : preserved)
    if (!tables.test(RootTable::table_of(bdf, root.mode)))
      return fail(EBADMSG, "the context table of a preserved device was not handed over");
  std::optional<Order> order;
  if (environment_.pages.kho() != nullptr) order = environment_.pages.kho()->preserved_order(root.address);
  if (!order || *order != kOrder0) return fail(ENOENT, "the root table was not preserved");
  return {};
}

// Made by the old kernel after the last device was preserved, or by one that died before it handed anything over: nobody has
// kept them, and no preserved device needs them.
void VtdUnit::drop_unrecorded_tables(PhysAddr root, const RootTable::Bitmap& tables) {
  TableWord* words = environment_.pages.virt(root);
  for (unsigned table = 0; table < RootTable::kTables; ++table)
    if (!tables.test(table) && (load_word(words + table) & kPresent) != 0) memory_->store(words + table, 0);
}

Status VtdUnit::adopt(const abi::IommuHwSer& ser) {
  CW_FAIL_POINT("iommu.vtd.unit.adopt");
  std::set<Bdf> preserved;
  std::vector<uint64_t> ids;
  environment_.live_update->for_each_device_of(register_base().value(), [&](abi::DeviceSer& device) {
    preserved.insert(Bdf(static_cast<uint16_t>(device.devid)));
    ids.push_back(device.map.attachment_id);
  });
  const UnitRegisters::Root root = CW_TRY(regs_->root());
  CW_TRY(check_record(ser, root, preserved));
  mode_ = root.mode;
  const RootTable::Bitmap tables = bitmap_of(ser);
  drop_unrecorded_tables(root.address, tables);
  CW_POINT("iommu.vtd.unit.unrecorded_dropped");
  root_ = CW_TRY(RootTable::adopt(*memory_, mode_, root.address, tables));
  CW_FAIL_POINT("iommu.vtd.unit.tables_restored");

  for (uint64_t id : ids) {
    // Several devices share one; what cannot be an id is refused when its device comes.
    if (environment_.faults.forget_domain_ids || id >= caps().domains()) continue;
    if (!ids_->is_taken(DomainId(id))) (void)ids_->reserve(DomainId(id));
  }
  CW_FAIL_POINT("iommu.vtd.unit.ids_reserved");
  // A kernel that was killed has not done it.
  keep_alone(preserved, Aliases::kUnknown);
  CW_POINT("iommu.vtd.unit.scrubbed");
  if (!regs_->translation_enabled()) {
    environment_.live_update->report_damage(name() + ": the old kernel left it with translation off");
  }
  adopted_ = true;
  return {};
}

// Returns what is not translated any more. The caller flushes.
VtdUnit::Scrub VtdUnit::keep_alone(const std::set<Bdf>& keep, Aliases aliases) {
  Scrub scrub;
  std::vector<ContextSlot> kept;
  for (Bdf bdf : keep) {
    std::optional<ContextSlot> slot = root_->find(bdf);
    if (!slot || !slot->present()) continue;
    if (scalable() && slot->scalable().page_requests) {
      slot->set_page_requests(false);  // nobody answers them meanwhile
      scrub.silenced.push_back(bdf);
    }
    kept.push_back(*slot);
  }
  std::vector<CutOff>& cut_off = scrub.cut_off;
  root_->for_each_present([&](Bdf bdf, ContextSlot slot) {
    if (keep.contains(bdf)) return;
    auto same = [&](const ContextSlot& of) { return is_alias(slot, of); };
    const bool alias = aliases == Aliases::kUnknown && std::any_of(kept.begin(), kept.end(), same) &&
                       !(bdf.bus() == 0 && environment_.is_present(bdf));
    if (alias) return;
    cut_off.push_back({bdf, scalable() ? LegacyContext{} : slot.legacy(), scalable() ? slot.scalable() : ScalableContext{}});
    slot.clear();
    root_->clear_copied(bdf);
  });
  if (!cut_off.empty()) log::info("iommu", "{}: {} devices that are not preserved are cut off", name(), cut_off.size());
  return scrub;
}

}  // namespace causeway::iommu::vtd
