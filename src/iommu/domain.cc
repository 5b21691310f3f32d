#include "iommu/domain.h"

#include <array>

namespace causeway::iommu {

const char* name_of(DomainType type) {
  switch (type) {
    case DomainType::kBlocked: return "blocked";
    case DomainType::kIdentity: return "identity";
    case DomainType::kUnmanaged: return "unmanaged";
    case DomainType::kDma: return "DMA";
    case DomainType::kDmaFq: return "DMA-FQ";
  }
  return "?";
}

std::string describe_prot(uint32_t prot) {
  static constexpr std::array<const char*, 6> kNames = {"READ", "WRITE", "CACHE", "NOEXEC", "MMIO", "PRIV"};
  std::string text;
  for (size_t bit = 0; bit < kNames.size(); ++bit) {
    if ((prot >> bit & 1) == 0) continue;
    if (!text.empty()) text += '|';
    text += kNames[bit];
  }
  return text.empty() ? "NONE" : text;
}

}  // namespace causeway::iommu
