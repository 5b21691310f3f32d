// /dev/liveupdate: creates sessions, and gives back those of the previous kernel.
//
//   LiveUpdateDevice device(orchestrator);
//   FileRef control = CW_TRY(device.open(task));        // EBUSY: open already; EIO: nothing usable was handed over
//   SessionRequest request{.size = sizeof request, .name = "vm0"};
//   CW_TRY(control->ioctl(task, kCreateSession, address_of(&request)));   // request.fd: a session file
//
// One open file at a time; sessions outlive it. The orchestrator outlives the device and its files, not the
// session files.
#pragma once

#include <atomic>
#include <memory>
#include <string_view>

#include "luo/orchestrator.h"
#include "uapi/device.h"

namespace causeway::uapi {

class LiveUpdateDevice : public Device {
 public:
  static constexpr std::string_view kPath = "/dev/liveupdate";

  // Linux gives out a dynamic one, from 255 down.
  static constexpr uint32_t kMinor = 257;

  explicit LiveUpdateDevice(luo::Orchestrator& orchestrator) : orchestrator_(orchestrator) {}
  std::string_view path() const override { return kPath; }
  uint32_t mode() const override { return 0600; }
  uint8_t ioctl_type() const override { return 0xba; }
  uint32_t minor() const override { return kMinor; }
  // ENOENT: LUO is off; EBUSY; EIO.
  Result<file::FileRef> open(file::Task& task) override;

 private:
  luo::Orchestrator& orchestrator_;
  std::shared_ptr<std::atomic<bool>> in_use_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace causeway::uapi
