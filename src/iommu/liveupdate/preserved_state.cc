#include "iommu/liveupdate/preserved_state.h"

#include <atomic>
#include <cstring>

#include "base/point.h"
#include "iommu/liveupdate/incoming_arrays.h"

namespace causeway::iommu {

namespace {

// A word that the next kernel may read at any instant: what was written before is seen by whoever sees it.
template <typename Word>
void store(void* structure, size_t offset, Word value) {
  auto* word = reinterpret_cast<Word*>(static_cast<std::byte*>(structure) + offset);
  std::atomic_ref(*word).store(value, std::memory_order_release);
}

}  // namespace

Result<void*> PreservedState::make_page() {
  CW_FAIL_POINT("iommu.state.page");
  void* page = CW_TRY(pages_.allocate(kOrder0));
  if (Status preserved = pages_.preserve(page); !preserved.has_value()) {
    pages_.free(page);
    return fail(preserved.error());
  }
  CW_POINT("iommu.state.after_page");
  return page;
}

Status PreservedState::make_pages() {
  ser_ = static_cast<abi::IommuFlbSer*>(CW_TRY(make_page()));
  ser_->version = abi::kVersion;
  for (size_t i = 0; i < kRecordKinds; ++i) {
    auto* page = static_cast<abi::IommuArrayHdrSer*>(CW_TRY(make_page()));
    chains_[i].push_back(page);
    store(ser_, head_offset(static_cast<RecordKind>(i)), pages_.phys(page).value());
  }
  return {};
}

Result<std::unique_ptr<PreservedState>> PreservedState::create(IommuPages& pages) {
  std::unique_ptr<PreservedState> state(new PreservedState(pages));
  if (Status made = state->make_pages(); !made.has_value()) {
    state->free_pages();
    return fail(made.error());
  }
  return state;
}

Result<void*> PreservedState::add_slot(RecordKind kind) {
  auto& chain = chains_[static_cast<size_t>(kind)];
  abi::IommuArrayHdrSer* page = chain.back();
  if (page->nr_objects == per_page(kind)) {
    auto* next = static_cast<abi::IommuArrayHdrSer*>(CW_TRY(make_page()));
    store(page, offsetof(abi::IommuArrayHdrSer, next_array_phys), pages_.phys(next).value());
    CW_POINT("iommu.state.after_link");
    chain.push_back(next);
    page = next;
  }
  CW_FAIL_POINT("iommu.state.slot");
  void* slot = slot_in(page, kind, page->nr_objects);
  std::memset(slot, 0, size_of(kind));
  *static_cast<abi::IommuHdrSer*>(slot) = {.ref_count = 1, .flags = abi::kDeleted};
  store(page, offsetof(abi::IommuArrayHdrSer, nr_objects), page->nr_objects + 1);
  CW_POINT("iommu.state.after_slot");
  return slot;
}

void PreservedState::set_flags(abi::IommuHdrSer* hdr, uint32_t flags) {
  store(hdr, offsetof(abi::IommuHdrSer, flags), flags);
  CW_POINT("iommu.state.after_flags");
}

void PreservedState::visit_slots(RecordKind kind, const std::function<void(void*)>& visit) {
  for (abi::IommuArrayHdrSer* page : chains_[static_cast<size_t>(kind)]) {
    for (uint64_t i = 0; i < page->nr_objects; ++i) {
      void* slot = slot_in(page, kind, i);
      if ((static_cast<abi::IommuHdrSer*>(slot)->flags & abi::kDeleted) == 0) visit(slot);
    }
  }
}

void* PreservedState::slot_at(RecordKind kind, uint64_t phys) {
  for (abi::IommuArrayHdrSer* page : chains_[static_cast<size_t>(kind)]) {
    const auto index = index_in(pages_.phys(page), kind, page->nr_objects, phys);
    if (!index.has_value()) continue;
    void* slot = slot_in(page, kind, *index);
    return (static_cast<abi::IommuHdrSer*>(slot)->flags & abi::kDeleted) == 0 ? slot : nullptr;
  }
  return nullptr;
}

Result<std::unique_ptr<PreservedState>> PreservedState::retrieve(IommuPages& pages, PhysAddr where) {
  const IncomingArrays arrays = CW_TRY(read_arrays(pages, where));
  CW_FAIL_POINT("iommu.state.retrieve");
  std::unique_ptr<PreservedState> state(new PreservedState(pages));
  state->incoming_ = true;
  state->ser_ = reinterpret_cast<abi::IommuFlbSer*>(CW_TRY(pages.restore(where, kOrder0)));
  for (size_t i = 0; i < kRecordKinds; ++i)
    for (PhysAddr page : arrays.chains[i])
      state->chains_[i].push_back(reinterpret_cast<abi::IommuArrayHdrSer*>(CW_TRY(pages.restore(page, kOrder0))));
  CW_POINT("iommu.state.after_restore");
  state->for_each<abi::IommuHwSer>([](abi::IommuHwSer& unit) {
    unit.hdr.flags |= abi::kIncoming;
    if (unit.type == abi::UnitType::kIntel) unit.intel.restored = 0;
  });
  state->for_each<abi::DomainSer>([](abi::DomainSer& domain) {
    domain.hdr.flags |= abi::kIncoming;
    domain.restored_domain = 0;
  });
  state->for_each<abi::DeviceSer>([&](abi::DeviceSer& device) {
    device.hdr.flags |= abi::kIncoming;
    if (state->at<abi::IommuHwSer>(device.map.iommu_phys)->type == abi::UnitType::kIntel) device.intel.restored = 0;
  });
  return state;
}

void PreservedState::free_pages() {
  for (auto& chain : chains_) {
    for (abi::IommuArrayHdrSer* page : chain) pages_.free(page);
    chain.clear();
  }
  if (ser_ != nullptr) pages_.free(ser_);
  ser_ = nullptr;
}

}  // namespace causeway::iommu
