#include "iommu/vtd/context_table.h"

#include <cassert>

namespace causeway::iommu::vtd {

using namespace hw::vtd;

ContextEntry encode(const LegacyContext& context) {
  uint64_t top = context.type == kPassThrough ? 0 : context.top.value() & kAddressMask;
  return {{ContextPresent::make(context.present) | ContextFaultDisable::make(context.fault_disable) |
               ContextTranslation::make(context.type) | top,
           ContextWidth::make(context.width) | ContextDomain::make(static_cast<uint16_t>(context.domain))}};
}

LegacyContext decode(const ContextEntry& entry) {
  return {.present = ContextPresent::get(entry.w[0]) != 0,
          .fault_disable = ContextFaultDisable::get(entry.w[0]) != 0,
          .type = static_cast<ContextType>(ContextTranslation::get(entry.w[0])),
          .width = static_cast<unsigned>(ContextWidth::get(entry.w[1])),
          .top = PhysAddr(entry.w[0] & kAddressMask),
          .domain = DomainId(static_cast<uint16_t>(ContextDomain::get(entry.w[1])))};
}

ScalableContextEntry encode(const ScalableContext& context) {
  return {{ContextPresent::make(context.present) | ContextFaultDisable::make(context.fault_disable) |
               ScalableDeviceTlb::make(context.device_tlb) | ScalablePasid::make(context.pasid) |
               ScalablePageRequest::make(context.page_requests) | ScalableDirectorySize::make(context.directory_size) |
               (context.directory.value() & kAddressMask),
           ScalableRidPasid::make(context.rid_pasid), 0, 0}};
}

ScalableContext decode(const ScalableContextEntry& entry) {
  return {.present = ContextPresent::get(entry.w[0]) != 0,
          .fault_disable = ContextFaultDisable::get(entry.w[0]) != 0,
          .device_tlb = ScalableDeviceTlb::get(entry.w[0]) != 0,
          .pasid = ScalablePasid::get(entry.w[0]) != 0,
          .page_requests = ScalablePageRequest::get(entry.w[0]) != 0,
          .directory_size = static_cast<unsigned>(ScalableDirectorySize::get(entry.w[0])),
          .directory = PhysAddr(entry.w[0] & kAddressMask),
          .rid_pasid = static_cast<Pasid>(ScalableRidPasid::get(entry.w[1]))};
}

LegacyContext ContextSlot::legacy() const {
  assert(mode_ == TableMode::kLegacy);
  return decode(TableMemory::read<ContextEntry>(words_));
}

ScalableContext ContextSlot::scalable() const {
  assert(mode_ == TableMode::kScalable);
  return decode(TableMemory::read<ScalableContextEntry>(words_));
}

void ContextSlot::set(const LegacyContext& context) {
  assert(mode_ == TableMode::kLegacy && !present());
  memory_->publish(words_, encode(context));
}

void ContextSlot::set(const ScalableContext& context) {
  assert(mode_ == TableMode::kScalable && !present());
  memory_->publish(words_, encode(context));
}

void ContextSlot::set_device_tlb(bool on) {
  assert(mode_ == TableMode::kScalable);
  memory_->store(words_, ScalableDeviceTlb::set(load_word(words_), on ? 1 : 0));
}

void ContextSlot::set_page_requests(bool on) {
  assert(mode_ == TableMode::kScalable);
  memory_->store(words_, ScalablePageRequest::set(load_word(words_), on ? 1 : 0));
}

void ContextSlot::clear() {
  if (mode_ == TableMode::kLegacy) {
    memory_->wipe<ContextEntry>(words_);
  } else {
    memory_->wipe<ScalableContextEntry>(words_);
  }
}

}  // namespace causeway::iommu::vtd
