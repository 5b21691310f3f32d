// Which default domain devices get, and what must be in it before they are attached.
//
//   DomainType type = CW_TRY(choose_default_type({&nic}, rules, std::nullopt));
//   DefaultDomain domain = CW_TRY(make_default_domain(nic, type));
//   CW_TRY(map_direct_regions(*domain.domain, nic));
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "iommu/group.h"

namespace causeway::iommu {

// In this order: what a driver insists on (all devices must agree), untrusted devices are translated, and strictly,
// `target` if somebody asks for a type, `rules`. EINVAL: they exclude each other.
Result<DomainType> choose_default_type(const std::vector<Device*>& devices, const DefaultDomainRules& rules,
                                       std::optional<DomainType> target);

struct DefaultDomain {
  std::unique_ptr<Domain> own;  // null: it is static
  Domain* domain = nullptr;
};
Result<DefaultDomain> make_default_domain(Device& device, DomainType type);

// Whatever of the device's direct regions is not mapped yet, one to one, whole pages of the domain. Nothing for domains
// that do not translate. EINVAL: it is mapped elsewhere; errors of the domain.
Status map_direct_regions(Domain& domain, const Device& device);
// Of the kind that must stay mapped whoever has the device.
bool needs_direct(const Device& device);

}  // namespace causeway::iommu
