// A character device: what open(2) on a path under /dev leads to.
//
//   class LiveUpdateDevice : public Device { ... };
//   FileRef file = CW_TRY(device.open(task));
//   CW_TRY(file->ioctl(task, command, argument));
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "file/file.h"
#include "file/task.h"

namespace causeway::uapi {

inline constexpr uint32_t kMiscMajor = 10;

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view path() const = 0;  // "/dev/liveupdate"
  virtual uint32_t mode() const = 0;          // permission bits of the node: 0600
  virtual uint8_t ioctl_type() const = 0;     // _IOC_TYPE of the ioctls of its files
  virtual uint32_t minor() const = 0;         // of misc devices, whose major is kMiscMajor
  // A new open file. Several threads may be in it at once.
  virtual Result<file::FileRef> open(file::Task& task) = 0;
};

}  // namespace causeway::uapi
