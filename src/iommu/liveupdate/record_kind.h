// The three kinds of records of abi/iommu_v1.h, for code that handles their arrays alike.
//
//   RecordKind kind = kKindOf<abi::DeviceSer>;
//   void* third = slot_in(page, kind, 2);
#pragma once

#include <cstddef>
#include <cstdint>

#include "iommu/abi/iommu_v1.h"

namespace causeway::iommu {

enum class RecordKind : uint8_t { kUnit, kDomain, kDevice };
inline constexpr size_t kRecordKinds = 3;

template <typename Object>
inline constexpr RecordKind kKindOf = RecordKind::kUnit;
template <>
inline constexpr RecordKind kKindOf<abi::DomainSer> = RecordKind::kDomain;
template <>
inline constexpr RecordKind kKindOf<abi::DeviceSer> = RecordKind::kDevice;

constexpr uint64_t size_of(RecordKind kind) {
  switch (kind) {
    case RecordKind::kUnit: return sizeof(abi::IommuHwSer);
    case RecordKind::kDomain: return sizeof(abi::DomainSer);
    case RecordKind::kDevice: return sizeof(abi::DeviceSer);
  }
  return kPageSize;
}
constexpr uint64_t per_page(RecordKind kind) {
  return (kPageSize - sizeof(abi::IommuArrayHdrSer)) / size_of(kind);
}
// Where IommuFlbSer says where the array begins.
constexpr size_t head_offset(RecordKind kind) {
  switch (kind) {
    case RecordKind::kUnit: return offsetof(abi::IommuFlbSer, iommu_array_phys);
    case RecordKind::kDomain: return offsetof(abi::IommuFlbSer, iommu_domain_array_phys);
    case RecordKind::kDevice: return offsetof(abi::IommuFlbSer, device_array_phys);
  }
  return 0;
}
// Every record begins with an IommuHdrSer.
inline void* slot_in(abi::IommuArrayHdrSer* page, RecordKind kind, uint64_t index) {
  return reinterpret_cast<std::byte*>(page + 1) + index * size_of(kind);
}

}  // namespace causeway::iommu
