#include "uapi/devices.h"

namespace causeway::uapi {

Status Devices::add(std::unique_ptr<Device> device) {
  const std::string_view path = device->path();
  if (!path.starts_with("/dev/") || path.size() == 5) return fail(EINVAL, "a device's path is not under /dev");
  if (devices_.contains(path)) return fail(EEXIST, "a device of this path exists");
  devices_.emplace(std::string(path), std::move(device));
  return {};
}

Device* Devices::find(std::string_view path) const {
  const auto found = devices_.find(path);
  return found == devices_.end() ? nullptr : found->second.get();
}

Result<file::FileRef> Devices::open(std::string_view path, file::Task& task) const {
  Device* device = find(path);
  if (device == nullptr) return fail(ENOENT, "no such device");
  return device->open(task);
}

std::vector<std::string_view> Devices::paths() const {
  std::vector<std::string_view> paths;
  for (const auto& [path, device] : devices_) paths.push_back(path);
  return paths;
}

}  // namespace causeway::uapi
