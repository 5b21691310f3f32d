#include "dma/debug/device_names.h"

#include <utility>

namespace causeway::dma {

DeviceNames::~DeviceNames() {
  for (std::atomic<DebugDevice*>& head : heads_) {
    for (DebugDevice* device = head.load(std::memory_order_relaxed); device != nullptr;)
      delete std::exchange(device, device->next);
  }
}

const DebugDevice* DeviceNames::find_from(const DebugDevice* first, const Device& device) {
  for (const DebugDevice* known = first; known != nullptr; known = known->next)
    if (known->requester == device.requester() && known->name == device.name()) return known;
  return nullptr;
}

const DebugDevice* DeviceNames::find_or_add(const Device& device) {
  std::atomic<DebugDevice*>& head = heads_[device.requester() % heads_.size()];
  DebugDevice* first = head.load(std::memory_order_acquire);
  if (const DebugDevice* known = find_from(first, device)) return known;
  auto* added = new DebugDevice{device.requester(), device.name(), filter_.empty() || filter_ == device.name(), first};
  while (!head.compare_exchange_weak(first, added, std::memory_order_acq_rel, std::memory_order_acquire)) {
    if (const DebugDevice* known = find_from(first, device)) {
      delete added;
      return known;
    }
    added->next = first;
  }
  return added;
}

}  // namespace causeway::dma
