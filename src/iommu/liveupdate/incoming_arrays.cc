#include "iommu/liveupdate/incoming_arrays.h"

#include <set>
#include <unordered_set>
#include <utility>

#include "base/log.h"

namespace causeway::iommu {

std::optional<uint64_t> index_in(PhysAddr page, RecordKind kind, uint64_t count, uint64_t phys) {
  const uint64_t first = page.value() + sizeof(abi::IommuArrayHdrSer);
  if (phys < first || (phys - first) % size_of(kind) != 0) return std::nullopt;
  const uint64_t index = (phys - first) / size_of(kind);
  return index < count ? std::optional(index) : std::nullopt;
}

namespace {

constexpr uint64_t kMaxLevel = 5;  // of a top table: six levels
constexpr uint32_t kMinVasz = 12;
constexpr uint32_t kMaxVasz = 64;

class Reader {
 public:
  explicit Reader(IommuPages& pages) : pages_(pages) {}

  Result<IncomingArrays> read(PhysAddr where) {
    CW_TRY(check_page(where.value()));
    const auto* ser = at<abi::IommuFlbSer>(where.value());
    if (ser->version != abi::kVersion) return refuse(where.value(), EPROTONOSUPPORT, "another version of the format");
    for (size_t i = 0; i < kRecordKinds; ++i) {
      const auto* head = reinterpret_cast<const uint64_t*>(reinterpret_cast<const std::byte*>(ser) +
                                                           head_offset(static_cast<RecordKind>(i)));
      CW_TRY(read_chain(static_cast<RecordKind>(i), *head));
    }
    // Devices last: they name the others.
    CW_TRY((check_all<abi::IommuHwSer>([this](const auto& unit, uint64_t at) { return check_unit(unit, at); })));
    CW_TRY((check_all<abi::DomainSer>([this](const auto& domain, uint64_t at) { return check_domain(domain, at); })));
    CW_TRY((check_all<abi::DeviceSer>([this](const auto& device, uint64_t at) { return check_device(device, at); })));
    return std::move(arrays_);
  }

 private:
  template <typename T>
  T* at(uint64_t phys) const {
    return reinterpret_cast<T*>(pages_.virt(PhysAddr(phys)));
  }
  static tl::unexpected<Error> refuse(uint64_t where, int code, const char* reason) {
    log::error("iommu", "preserved state at {:#x}: {}", where, reason);
    return fail(code, reason);
  }

  // Readable, and nobody else's.
  Status check_page(uint64_t phys) {
    if (phys % kPageSize != 0) return refuse(phys, EBADMSG, "an array is not at the beginning of a page");
    const auto order = pages_.kho()->preserved_order(PhysAddr(phys));
    if (!order.has_value()) return refuse(phys, ENOENT, "a page of the arrays was not preserved");
    if (*order != kOrder0) return refuse(phys, EBADMSG, "a page of the arrays was preserved as a larger block");
    if (!seen_.insert(phys).second) return refuse(phys, EBADMSG, "a page of the arrays is linked twice");
    return {};
  }

  Status read_chain(RecordKind kind, uint64_t phys) {
    if (phys == 0) return refuse(phys, EBADMSG, "an array is missing");
    while (phys != 0) {
      CW_TRY(check_page(phys));
      const auto* page = at<const abi::IommuArrayHdrSer>(phys);
      if (page->nr_objects > per_page(kind)) return refuse(phys, EBADMSG, "more records than fit a page");
      if (page->next_array_phys != 0 && page->nr_objects != per_page(kind))
        return refuse(phys, EBADMSG, "fewer records than a page with a successor has");
      arrays_.chains[static_cast<size_t>(kind)].push_back(PhysAddr(phys));
      phys = page->next_array_phys;
    }
    return {};
  }

  template <typename Object, typename Check>
  Status check_all(const Check& check) {
    constexpr RecordKind kKind = kKindOf<Object>;
    for (PhysAddr phys : arrays_.chains[static_cast<size_t>(kKind)]) {
      auto* page = at<abi::IommuArrayHdrSer>(phys.value());
      for (uint64_t i = 0; i < page->nr_objects; ++i) {
        const auto* object = static_cast<const Object*>(slot_in(page, kKind, i));
        const uint64_t where = pages_.phys(object).value();
        if ((object->hdr.flags & ~uint32_t{abi::kDeleted | abi::kIncoming}) != 0)
          return refuse(where, EBADMSG, "a record with unknown flags");
        if ((object->hdr.flags & abi::kDeleted) != 0) continue;
        if (object->hdr.ref_count == 0) return refuse(where, EBADMSG, "a record without a user");
        live_[static_cast<size_t>(kKind)].insert(where);
        CW_TRY(check(*object, where));
      }
    }
    return {};
  }

  Status check_unit(const abi::IommuHwSer& unit, uint64_t where) {
    if (unit.type != abi::UnitType::kIntel && unit.type != abi::UnitType::kArmSmmuV3)
      return refuse(where, EBADMSG, "a unit of unknown type");
    if (!units_.emplace(unit.token, static_cast<uint64_t>(unit.type)).second)
      return refuse(where, EBADMSG, "two records of one unit");
    if (unit.type == abi::UnitType::kIntel && unit.intel.root_table % kPageSize != 0)
      return refuse(where, EBADMSG, "a root table that is not page-aligned");
    return {};
  }

  Status check_domain(const abi::DomainSer& domain, uint64_t where) {
    const uint64_t top = domain.top_table_phys;
    if (top == 0 || top % kPageSize != 0) return refuse(where, EBADMSG, "a top table that is none");
    // An array of ours would be walked as a table; two domains would restore, and later free, one table twice.
    if (!seen_.insert(top).second) return refuse(where, EBADMSG, "a top table that is something else already");
    if (domain.top_level > kMaxLevel || domain.vasz < kMinVasz || domain.vasz > kMaxVasz || domain.sign_extend > 1)
      return refuse(where, EBADMSG, "a page table of impossible geometry");
    return {};
  }

  Status check_device(const abi::DeviceSer& device, uint64_t where) {
    if (device.devid > 0xffff || device.pci_domain_nr > 0xffff)
      return refuse(where, EBADMSG, "a device that PCI cannot have");
    if (!devices_.emplace(device.pci_domain_nr, device.devid).second)
      return refuse(where, EBADMSG, "two records of one device");
    if (!is_live(RecordKind::kDomain, device.map.domain_phys))
      return refuse(where, EBADMSG, "a device whose domain is not preserved");
    if (!is_live(RecordKind::kUnit, device.map.iommu_phys))
      return refuse(where, EBADMSG, "a device whose unit is not preserved");
    const auto* unit = at<abi::IommuHwSer>(device.map.iommu_phys);
    if (unit->type == abi::UnitType::kIntel && device.intel.pasid_table % kPageSize != 0)
      return refuse(where, EBADMSG, "a PASID table that is not page-aligned");
    return {};
  }

  bool is_live(RecordKind kind, uint64_t phys) const { return live_[static_cast<size_t>(kind)].contains(phys); }

  IommuPages& pages_;
  IncomingArrays arrays_;
  std::unordered_set<uint64_t> seen_;  // array pages and top tables
  std::array<std::unordered_set<uint64_t>, kRecordKinds> live_;
  std::set<std::pair<uint64_t, uint64_t>> units_;    // token and type
  std::set<std::pair<uint32_t, uint32_t>> devices_;  // segment and id
};

}  // namespace

Result<IncomingArrays> read_arrays(IommuPages& pages, PhysAddr where) {
  if (pages.kho() == nullptr) return fail(EOPNOTSUPP, "there is no handover");
  return Reader(pages).read(where);
}

}  // namespace causeway::iommu
