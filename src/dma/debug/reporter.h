// What happens with a violation: it is counted, printed while the budget lasts, and told to whoever listens.
//
//   reporter.report({.error = DebugError::kDifferentSize, .device = d, .address = bus, .size = 64, .entry = entry,
//                    .detail = fmt::format("mapped {} bytes, unmapped {}", entry->size, 64), .frame = frame});
//
// No lock may be held.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "dma/debug/debug.h"
#include "dma/debug/entry.h"
#include "sync/guarded.h"

namespace causeway::dma {

struct Violation {
  DebugError error;
  const DebugDevice* device;
  DmaAddr address;
  uint64_t size;
  const DebugMapping* entry = nullptr;  // of the mapping, where there is one
  std::string detail;
  const void* frame = nullptr;  // of the hook, for the stack of the offender
};

class DebugReporter {
 public:
  DebugReporter(uint64_t num_errors, bool all_errors) : budget_(num_errors), all_(all_errors) {}

  void report(const Violation& violation);

  uint64_t count() const { return total_.load(std::memory_order_relaxed); }
  uint64_t count(DebugError error) const { return by_error_[static_cast<unsigned>(error)].load(std::memory_order_relaxed); }
  void set_all_errors(bool all) { all_.store(all, std::memory_order_relaxed); }
  void set_num_errors(uint64_t count) { budget_.store(count, std::memory_order_relaxed); }
  void set_reporter(std::function<void(const Debug::Report&)> reporter);

 private:
  using Listener = std::shared_ptr<const std::function<void(const Debug::Report&)>>;
  bool may_print(const DebugDevice& device);

  std::atomic<uint64_t> total_{0};
  std::atomic<uint64_t> by_error_[kDebugErrors]{};
  std::atomic<uint64_t> budget_;
  std::atomic<bool> all_;
  sync::Guarded<Listener> listener_{sync::LockName{"dma.debug.listener"}};
};

}  // namespace causeway::dma
