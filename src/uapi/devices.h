// The devices of a kernel by path.
//
//   Devices devices;
//   CW_TRY(devices.add(std::make_unique<LiveUpdateDevice>(orchestrator)));
//   FileRef file = CW_TRY(devices.open("/dev/liveupdate", task));
//
// Filled before the first client comes; then only read.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "uapi/device.h"

namespace causeway::uapi {

class Devices {
 public:
  // EINVAL: not a path under /dev; EEXIST.
  Status add(std::unique_ptr<Device> device);
  Device* find(std::string_view path) const;  // null: no such device
  // ENOENT: no such device; and those of the device.
  Result<file::FileRef> open(std::string_view path, file::Task& task) const;
  std::vector<std::string_view> paths() const;  // sorted

 private:
  std::map<std::string, std::unique_ptr<Device>, std::less<>> devices_;
};

}  // namespace causeway::uapi
