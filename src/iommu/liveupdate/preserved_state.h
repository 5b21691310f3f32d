// The serialised arrays of abi/iommu_v1.h: three chains of pages that only grow (struct iommu_flb_obj).
//
//   auto state = CW_TRY(PreservedState::create(pages));
//   abi::DeviceSer* slot = CW_TRY(state->add<abi::DeviceSer>());
//   ...                                                     // filled in; the next kernel would skip it
//   state->publish(slot);                                   // now it would not
//   state->remove(slot);                                    // kDeleted, for ever
//
//   auto old = CW_TRY(PreservedState::retrieve(pages, phys)); // the next kernel
//   old->for_each<abi::DeviceSer>([&](abi::DeviceSer& device) { ... });   // without deleted ones
//
// Every page is preserved as it is made, before it is linked. The next kernel may read the arrays as they are at any
// instant: a record counts from publish() to remove(), and whatever it names must be complete for as long. Not
// thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "iommu/abi/iommu_v1.h"
#include "iommu/iommu_pages.h"
#include "iommu/liveupdate/record_kind.h"

namespace causeway::iommu {

class PreservedState {
 public:
  // ENOMEM and those of KHO; nothing is left.
  static Result<std::unique_ptr<PreservedState>> create(IommuPages& pages);
  // Checks all that the arrays say before anybody follows it (incoming_arrays.h, which has the errors), and then restores
  // every page of them. A failed check restores nothing. What is the new kernel's alone is reset: an earlier one may have
  // died after it had set it.
  static Result<std::unique_ptr<PreservedState>> retrieve(IommuPages& pages, PhysAddr where);
  // Frees nothing: unpreserve(), or release().
  ~PreservedState() = default;

  PhysAddr phys() const { return pages_.phys(ser_); }
  bool incoming() const { return incoming_; }

  // A slot that readers skip until it is published: zeroed, ref_count 1. Never used again if it is not. ENOMEM.
  template <typename Object>
  Result<Object*> add() {
    return static_cast<Object*>(CW_TRY(add_slot(kKindOf<Object>)));
  }
  template <typename Object>
  void publish(Object* object) { set_flags(&object->hdr, object->hdr.flags & ~abi::kDeleted); }
  template <typename Object>
  void remove(Object* object) { set_flags(&object->hdr, object->hdr.flags | abi::kDeleted); }
  template <typename Object>
  void for_each(const std::function<void(Object&)>& visit) {
    visit_slots(kKindOf<Object>, [&](void* slot) { visit(*static_cast<Object*>(slot)); });
  }
  // The record at a physical address that is named by another one; null: none, or deleted.
  template <typename Object>
  Object* at(uint64_t phys) {
    return static_cast<Object*>(slot_at(kKindOf<Object>, phys));
  }
  template <typename Object>
  uint64_t phys_of(const Object* object) const { return pages_.phys(object).value(); }

  void unpreserve() { free_pages(); }  // the old kernel's undo: everything is freed
  void release() { free_pages(); }     // the new kernel has read it, and the old handover does not count any more

 private:
  explicit PreservedState(IommuPages& pages) : pages_(pages) {}
  Status make_pages();
  Result<void*> make_page();
  Result<void*> add_slot(RecordKind kind);
  void visit_slots(RecordKind kind, const std::function<void(void*)>& visit);
  void* slot_at(RecordKind kind, uint64_t phys);
  static void set_flags(abi::IommuHdrSer* hdr, uint32_t flags);
  void free_pages();

  IommuPages& pages_;
  bool incoming_ = false;
  abi::IommuFlbSer* ser_ = nullptr;
  std::array<std::vector<abi::IommuArrayHdrSer*>, kRecordKinds> chains_;  // in the order they are linked
};

}  // namespace causeway::iommu
