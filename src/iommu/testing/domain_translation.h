// For tests: a machine whose devices all go through one MapDomain.
//
//   iommu::MapDomain domain;
//   DomainTranslation translation(domain);
//   auto machine = must(machine::Machine::create({.ram = MiB(64), .translation = &translation}));
#pragma once

#include "iommu/map_domain.h"
#include "machine/translation.h"

namespace causeway::iommu::testing {

class DomainTranslation final : public machine::Translation {
 public:
  explicit DomainTranslation(MapDomain& domain) : domain_(domain) {}
  Run translate(Bdf, DmaAddr address, uint64_t bytes, machine::Access access) override {
    MapDomain::Run run =
        domain_.translate(Iova(address.value()), bytes, access == machine::Access::kWrite ? kWrite : kRead);
    return {run.phys, run.bytes};
  }

 private:
  MapDomain& domain_;
};

}  // namespace causeway::iommu::testing
