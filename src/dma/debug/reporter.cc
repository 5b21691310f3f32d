#include "dma/debug/reporter.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "dma/debug/debug_state.h"

namespace causeway::dma {

const char* name_of(DebugError error) {
  switch (error) {
    case DebugError::kInvalidAddressFreed: return "unmap of the address of a failed map";
    case DebugError::kNotAllocated: return "unmap of what is not mapped";
    case DebugError::kDifferentSize: return "unmap with another size";
    case DebugError::kWrongFunction: return "unmap with the wrong function";
    case DebugError::kDifferentCpuAddress: return "free with another CPU address";
    case DebugError::kDifferentSgCount: return "unmap of a list with another number of entries";
    case DebugError::kDifferentDirection: return "unmap with another direction";
    case DebugError::kMapErrorNotChecked: return "map never checked for an error";
    case DebugError::kDifferentAttributes: return "unmap with other attributes";
    case DebugError::kSyncNotAllocated: return "sync of what is not mapped";
    case DebugError::kSyncOutsideRange: return "sync beyond the mapping";
    case DebugError::kSyncDifferentDirection: return "sync with another direction";
    case DebugError::kSyncForCpuReadOnly: return "sync for the CPU of what the device only reads";
    case DebugError::kSyncForDeviceWriteOnly: return "sync for the device of what it only writes";
    case DebugError::kSyncSgCount: return "sync of a list with another number of entries";
    case DebugError::kMapsFromStack: return "map of memory on the stack";
    case DebugError::kMapsKernelText: return "map of text or read-only data";
    case DebugError::kMapsInvalidArea: return "map of what is not memory";
    case DebugError::kMapsVmalloc: return "map of vmalloc memory";
    case DebugError::kResourceIsRam: return "RAM mapped as a resource";
    case DebugError::kSegmentTooLong: return "segment longer than the device takes";
    case DebugError::kSegmentCrossesBoundary: return "segment across the device's boundary";
    case DebugError::kCachelineOverlap: return "mappings share a cache line";
    case DebugError::kPendingAllocations: return "device removed with live mappings";
    case DebugError::kUninitialised: return "device reads memory that nobody wrote";
  }
  return "unknown";
}

bool DebugReporter::may_print(const DebugDevice& device) {
  if (!device.shown) return false;
  if (all_.load(std::memory_order_relaxed)) return true;
  uint64_t left = budget_.load(std::memory_order_relaxed);
  while (left > 0) {
    if (budget_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

void DebugReporter::report(const Violation& violation) {
  total_.fetch_add(1, std::memory_order_relaxed);
  by_error_[static_cast<unsigned>(violation.error)].fetch_add(1, std::memory_order_relaxed);
  bool print = may_print(*violation.device);
  Listener listener = listener_.with([](const Listener& current) { return current; });
  if (!print && !listener) return;

  std::string text = fmt::format("{}: {}", violation.device->name, name_of(violation.error));
  if (!violation.detail.empty()) text += fmt::format(": {}", violation.detail);
  text += fmt::format(" [device address={:#x}] [size={}]", violation.address.value(), violation.size);
  if (const DebugMapping* entry = violation.entry) {
    text += fmt::format(" [phys={:#x}] [{}] [mapped as {}] [mapped at {}]", entry->phys.value(), word_of(entry->direction),
                        name_of(entry->type), to_string(entry->stack));
  }
  if (violation.frame != nullptr) text += fmt::format(" [reported at {}]", to_string(capture_stack(violation.frame)));
  if (print) log::warn("dma-debug", "{}", text);
  if (listener)
    (*listener)({violation.error, violation.device->name, violation.address, violation.size, std::move(text)});
}

void DebugReporter::set_reporter(std::function<void(const Debug::Report&)> reporter) {
  Listener next;
  if (reporter) next = std::make_shared<const std::function<void(const Debug::Report&)>>(std::move(reporter));
  listener_.with([&](Listener& current) { current.swap(next); });
}

}  // namespace causeway::dma
