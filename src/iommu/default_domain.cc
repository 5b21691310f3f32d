#include "iommu/default_domain.h"

#include "base/log.h"

namespace causeway::iommu {
namespace {

bool is_direct(const ReservedRegion& region) {
  return region.kind == ReservedRegion::Kind::kDirect || region.kind == ReservedRegion::Kind::kDirectRelaxable;
}

}  // namespace

Result<DomainType> choose_default_type(const std::vector<Device*>& devices, const DefaultDomainRules& rules,
                                       std::optional<DomainType> target) {
  std::optional<DomainType> wanted;
  auto insist = [&](DomainType type, const Device& device) -> Status {
    if (wanted && *wanted != type) {
      log::error("iommu", "{} insists on default domain {}, another device of its group on {}", device.name(),
                 name_of(type), name_of(*wanted));
      return fail(EINVAL, "the devices of a group insist on different default domains");
    }
    wanted = type;
    return {};
  };
  bool untrusted = false;
  for (Device* device : devices) {
    if (std::optional<DomainType> type = device->driver().default_domain_type(*device))
      CW_TRY(insist(*type, *device));
    untrusted |= device->info().untrusted;
  }
  for (Device* device : devices)
    if (device->info().untrusted && rules.strict_untrusted) CW_TRY(insist(DomainType::kDma, *device));
  if (untrusted && wanted == DomainType::kIdentity)
    return fail(EINVAL, "an untrusted device is never on an identity domain");

  if (target) {
    if (wanted && *wanted != *target)
      return fail(EINVAL, "the driver, or an untrusted device, insists on another type");
    if (untrusted && *target == DomainType::kIdentity)
      return fail(EINVAL, "an untrusted device is never on an identity domain");
    return *target;
  }
  if (wanted) return *wanted;
  return untrusted && rules.type == DomainType::kIdentity ? DomainType::kDma : rules.type;
}

Result<DefaultDomain> make_default_domain(Device& device, DomainType type) {
  switch (type) {
    case DomainType::kIdentity: return DefaultDomain{nullptr, &device.driver().identity_domain()};
    case DomainType::kBlocked: return DefaultDomain{nullptr, &device.driver().blocked_domain()};
    default: break;
  }
  std::unique_ptr<Domain> own = CW_TRY(device.driver().alloc_paging(device, type, 0));
  Domain* domain = own.get();
  return DefaultDomain{std::move(own), domain};
}

Status map_direct_regions(Domain& domain, const Device& device) {
  if (domain.type() != DomainType::kDma && domain.type() != DomainType::kDmaFq) return {};
  const uint64_t granule = domain.granule();
  bool changed = false;
  for (const ReservedRegion& region : device.driver().reserved_regions(device)) {
    if (!is_direct(region)) continue;
    const uint64_t first = align_down(region.start.value(), granule);
    const uint64_t last = region.end.value() | (granule - 1);
    // Runs of what is not mapped: large pages are used, and what another device of the group has mapped stays.
    uint64_t run = 0;
    auto map_run = [&](uint64_t end) -> Status {
      if (run == 0) return {};
      CW_TRY(domain.map(Iova(end - run), PhysAddr(end - run), run, kRead | kWrite));
      domain.sync_map(Iova(end - run), run);
      run = 0;
      changed = true;
      return {};
    };
    for (uint64_t at = first;; at += granule) {
      std::optional<PhysAddr> there = domain.iova_to_phys(Iova(at));
      if (there && there->value() != at) return fail(EINVAL, "a direct region is mapped elsewhere");
      if (there)
        CW_TRY(map_run(at));
      else
        run += granule;
      if (last - at < granule) {
        CW_TRY(map_run(at + granule));
        break;
      }
    }
  }
  if (changed) domain.flush_all();
  return {};
}

bool needs_direct(const Device& device) {
  for (const ReservedRegion& region : device.driver().reserved_regions(device))
    if (region.kind == ReservedRegion::Kind::kDirect) return true;
  return false;
}

}  // namespace causeway::iommu
