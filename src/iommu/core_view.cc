// Groups as sysfs shows them.
#include <fmt/format.h>

#include "iommu/core_state.h"

namespace causeway::iommu {

using sync::MutexLock;

std::vector<Core::GroupView> Core::view_groups() const {
  MutexLock lock(state_->mutex);
  std::vector<GroupView> all;
  for (const auto& group : state_->groups) {
    GroupView view{.id = group->id(), .type = name_of(group->type())};
    for (const Device* device : group->devices()) view.devices.push_back(device->name());
    for (const auto& entry : state_->quarantined)
      if (entry.device->group_ == group.get()) view.devices.push_back(entry.device->name());
    view.reserved_regions = describe_regions(group->reserved_regions());
    if (std::string why = group->quarantine(); !why.empty())
      view.note = why;
    else if (std::optional<uint64_t> token = group->restored_token())
      view.note = fmt::format("restored for token {:#x}", *token);
    else if (group->is_owned())
      view.note = "owned";
    all.push_back(std::move(view));
  }
  return all;
}

Status Core::write_group_type(uint32_t id, std::string_view type) {
  std::optional<DomainType> wanted;
  for (DomainType known : {DomainType::kIdentity, DomainType::kDma, DomainType::kDmaFq})
    if (type == name_of(known)) wanted = known;
  if (!wanted && type != "auto") return fail(EINVAL, "no such type of default domains");
  MutexLock lock(state_->mutex);
  for (const auto& group : state_->groups)
    if (group->id() == id) return group->change_default_type(wanted);
  return fail(ENOENT, "no such group");
}

}  // namespace causeway::iommu
