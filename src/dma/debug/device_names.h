// The devices dma-debug has met, by name. Lookup takes no lock; a name stays until the end.
//
//   const DebugDevice* known = names.find_or_add(device);
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "dma/debug/entry.h"
#include "dma/device.h"

namespace causeway::dma {

class DeviceNames {
 public:
  // `filter`: the only device whose reports are printed; empty: all.
  explicit DeviceNames(std::string filter) : filter_(std::move(filter)) {}
  ~DeviceNames();
  DeviceNames(const DeviceNames&) = delete;
  DeviceNames& operator=(const DeviceNames&) = delete;

  const DebugDevice* find_or_add(const Device& device);

 private:
  static const DebugDevice* find_from(const DebugDevice* first, const Device& device);
  const std::string filter_;
  std::array<std::atomic<DebugDevice*>, 256> heads_{};
};

}  // namespace causeway::dma
