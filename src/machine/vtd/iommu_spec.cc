#include "machine/vtd/iommu_spec.h"

#include <algorithm>
#include <bit>

#include "machine/spec_text.h"

namespace causeway::machine {
namespace {

Status apply_flag(bool& flag, std::string_view value) {
  if (value != "0" && value != "1") return fail(EINVAL, "an option of a vtd is not 0 or 1");
  flag = value == "1";
  return {};
}

Status apply_devices(std::vector<Bdf>& scope, std::string_view value) {
  while (true) {
    std::string_view one = value.substr(0, value.find('+'));
    Bdf bdf = CW_TRY(parse_bdf(one));
    if (std::find(scope.begin(), scope.end(), bdf) != scope.end())
      return fail(EINVAL, "the scope of a vtd names a device twice");
    scope.push_back(bdf);
    if (one.size() == value.size()) return {};
    value.remove_prefix(one.size() + 1);
  }
}

Status apply_scope(std::vector<Bdf>& scope, std::string_view value) {
  if (value == "all") return {};
  return apply_devices(scope, value);
}

Status apply_reserved(std::vector<ReservedMemory>& all, std::string_view value) {
  const size_t dash = value.find('-'), at = value.find('@');
  if (dash == value.npos || at == value.npos || dash > at || !value.starts_with("0x") ||
      !value.substr(dash + 1).starts_with("0x"))
    return fail(EINVAL, "reserved memory of a vtd is not 0xBASE-0xLAST@BDF");
  auto base = parse_number(value.substr(2, dash - 2), 16);
  auto last = parse_number(value.substr(dash + 3, at - dash - 3), 16);
  if (!base || !last || *last < *base || *base % kPageSize != 0 || (*last + 1) % kPageSize != 0)
    return fail(EINVAL, "reserved memory of a vtd is not whole pages");
  ReservedMemory memory{.base = *base, .last = *last, .devices = {}};
  CW_TRY(apply_devices(memory.devices, value.substr(at + 1)));
  all.push_back(std::move(memory));
  return {};
}

Status apply(IommuSpec& spec, std::string_view name, std::string_view value) {
  if (name == "scalable") return apply_flag(spec.scalable, value);
  if (name == "first_stage") return apply_flag(spec.first_stage, value);
  if (name == "caching_mode") return apply_flag(spec.caching_mode, value);
  if (name == "coherent") return apply_flag(spec.coherent, value);
  if (name == "rwbf") return apply_flag(spec.write_buffer_flush, value);
  if (name == "qi") return apply_flag(spec.queued_invalidation, value);
  if (name == "ats") return apply_flag(spec.ats, value);
  if (name == "prs") return apply_flag(spec.page_requests, value);
  if (name == "esrtps") return apply_flag(spec.enhanced_set_root, value);
  if (name == "scope") return apply_scope(spec.scope, value);
  if (name == "reserved") return apply_reserved(spec.reserved, value);
  auto parsed = parse_number(value, 10);
  if (!parsed || *parsed > 65536) return fail(EINVAL, "an option of a vtd needs a number up to 65536");
  auto number = static_cast<unsigned>(*parsed);
  if (name == "aw") {
    if (number != 39 && number != 48 && number != 57)
      return fail(EINVAL, "the aw of a vtd is not 39, 48 or 57");
    spec.address_width = number;
  } else if (name == "domains") {
    // CAP.ND counts in steps of four.
    if (!std::has_single_bit(number) || number < 16 || std::countr_zero(number) % 2 != 0)
      return fail(EINVAL, "the domains of a vtd are not 16, 64, 256, 1024, 4096, 16384 or 65536");
    spec.domains = number;
  } else if (name == "faults") {
    if (number < 1 || number > 128) return fail(EINVAL, "the faults of a vtd are not 1 to 128");
    spec.fault_records = number;
  } else if (name == "strict") {
    spec.strict = number;
  } else {
    return fail(EINVAL,
                "a vtd has the options scalable, first_stage, aw, domains, caching_mode, coherent, rwbf, faults, "
                "qi, ats, prs, esrtps, strict, scope and reserved");
  }
  return {};
}

}  // namespace

Result<IommuSpec> parse_iommu_spec(std::string_view text) {
  IommuSpec spec;
  std::string_view kind = text.substr(0, text.find(','));
  if (kind != "vtd") return fail(EINVAL, "the kind of an iommu is not 'vtd'");
  while (kind.size() < text.size()) {
    text.remove_prefix(kind.size() + 1);
    kind = text.substr(0, text.find(','));
    std::string_view name = kind.substr(0, kind.find('='));
    if (name.size() == kind.size()) return fail(EINVAL, "an option of a vtd is not of the form name=value");
    CW_TRY(apply(spec, name, kind.substr(name.size() + 1)));
  }
  return spec;
}

}  // namespace causeway::machine
