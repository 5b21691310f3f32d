// WARN_ONCE: one warning per call site, until somebody asks for all of them again.
//
//   CW_WARN_ONCE("dma", "{}: overflow {:#x}+{}", device.name(), address, size);
//   log::clear_warn_once();   // as /sys/kernel/debug/clear_warn_once; tests begin with it
#pragma once

#include <atomic>
#include <cstdint>

#include "base/log.h"

namespace causeway::log {

namespace detail {
inline std::atomic<uint32_t> warn_once_epoch{1};
}

inline void clear_warn_once() { detail::warn_once_epoch.fetch_add(1, std::memory_order_relaxed); }

}  // namespace causeway::log

#define CW_WARN_ONCE(...)                                                                                    \
  do {                                                                                                       \
    static std::atomic<uint32_t> cw_warned{0};                                                               \
    uint32_t cw_epoch = ::causeway::log::detail::warn_once_epoch.load(std::memory_order_relaxed);            \
    if (cw_warned.exchange(cw_epoch, std::memory_order_relaxed) != cw_epoch) ::causeway::log::warn(__VA_ARGS__); \
  } while (false)
