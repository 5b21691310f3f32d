// For tests of streaming maps: memory to map, pools in a place of the test's choice, and what was logged.
//
//   System system(with({.bounce_unaligned_kmalloc = true}));
//   Device codec = system.device({.coherent = false});
//   PhysAddr buffer = page(system);
//   LogCount warnings("overflow");
//   EXPECT_EQ(map_phys(codec, buffer, 4096, Direction::kToDevice, Attr::kNone), DmaAddr{buffer.value()});
//   EXPECT_EQ(warnings.count(), 0u);
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/map.h"
#include "dma/state.h"
#include "dma/swiotlb/swiotlb.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {

inline BootOptions with(const Config& config) {
  return {.dma = config};
}

// 2^order pages, never given back.
inline PhysAddr page(System& system, unsigned order = 0) {
  return system.map().phys(must(system.pages().alloc_pages(Order(order), mm::kGfpKernel)));
}
// The same below an address.
inline PhysAddr page_below(System& system, PhysAddr limit, unsigned order = 0) {
  return system.map().phys(must(system.pages().alloc_pages_below(Order(order), mm::kGfpKernel, limit)));
}

// A pool of 1 MiB. A device uses it after set_swiotlb(); it must outlive the device's maps.
inline std::unique_ptr<Swiotlb> make_pool(System& system, Swiotlb::Options options = {}) {
  options.size = MiB(1);
  if (options.areas == 0) options.areas = 1;
  return must(Swiotlb::create(system.pages(), system.dma().state().attributes, options));
}

inline Cache::Counts cache_operations(System& system) {
  return system.dma().state().cache.counts();
}
inline bool no_cache_operations(System& system) {
  Cache::Counts counts = cache_operations(system);
  return counts.for_device == 0 && counts.for_cpu == 0 && counts.flushes == 0;
}

// Lines with `text` since this was made. Warnings that come once come again.
class LogCount {
 public:
  explicit LogCount(std::string_view text) : text_(text) { log::clear_warn_once(); }
  unsigned count() const {
    unsigned found = 0;
    for (const std::string& line : capture_.lines()) found += line.find(text_) != std::string::npos;
    return found;
  }
  bool contains(std::string_view text) const { return capture_.contains(text); }
  unsigned lines() const { return static_cast<unsigned>(capture_.lines().size()); }

 private:
  std::string text_;
  log::Capture capture_;
};

constexpr DmaAddr bus(PhysAddr phys) {
  return DmaAddr(phys.value());
}

}  // namespace causeway::dma::testing
