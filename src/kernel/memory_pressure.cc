#include "kernel/memory_pressure.h"

#include <chrono>
#include <thread>

#include "base/log.h"

namespace causeway::kernel {

namespace {

constexpr unsigned kOrders = 5;           // 0..4
constexpr unsigned kExchangesPerTick = 8;
constexpr auto kTick = std::chrono::milliseconds(1);

uint64_t word_at(uint64_t pattern, uint64_t index) { return pattern ^ index * 0x9e3779b97f4a7c15; }

}  // namespace

MemoryPressure::MemoryPressure(mm::PageAllocator& allocator, uint64_t pages)
    : allocator_(allocator), target_pages_(pages), random_(pages) {
  if (pages != 0) thread_ = sync::Thread("kernel.pressure", [this](sync::StopToken stop) { run(stop); });
}

MemoryPressure::~MemoryPressure() {
  thread_.request_stop();
  thread_.join();
}

void MemoryPressure::stop() {
  thread_.request_stop();
  thread_.join();
  while (!held_.empty()) check_and_free(held_.size() - 1);
}

void MemoryPressure::run(sync::StopToken stop) {
  while (!stop.stop_requested()) {
    for (unsigned i = 0; i < kExchangesPerTick; ++i) {
      if (held_pages_ >= target_pages_) check_and_free(random_() % held_.size());
      take();
    }
    std::this_thread::sleep_for(kTick);
  }
}

void MemoryPressure::take() {
  Order order(static_cast<unsigned>(random_() % kOrders));
  // As many movable as unmovable: the two come from different free lists.
  mm::Gfp kind = (random_() & 1) != 0 ? mm::Gfp::kMovable : mm::Gfp::kNone;
  Result<mm::Page*> page = allocator_.alloc_pages(order, mm::kGfpKernel | mm::Gfp::kNoWarn | kind);
  if (!page) return;  // somebody else needs the memory more
  Held held{*page, order, random_()};
  auto* words = allocator_.map().address_as<uint64_t>(held.page);
  for (uint64_t i = 0; i < order.bytes() / sizeof(uint64_t); ++i) words[i] = word_at(held.pattern, i);
  held_.push_back(held);
  held_pages_ += order.pages();
}

void MemoryPressure::check_and_free(size_t index) {
  Held held = held_[index];
  held_[index] = held_.back();
  held_.pop_back();
  held_pages_ -= held.order.pages();
  const auto* words = allocator_.map().address_as<uint64_t>(held.page);
  for (uint64_t i = 0; i < held.order.bytes() / sizeof(uint64_t); ++i) {
    if (words[i] == word_at(held.pattern, i)) continue;
    log::error("kernel", "somebody wrote to allocated memory: {:#x} at {}, want {:#x}", words[i],
               allocator_.map().phys(held.page) + i * sizeof(uint64_t), word_at(held.pattern, i));
    damaged_.fetch_add(1, std::memory_order_relaxed);
    break;
  }
  allocator_.free_pages(held.page, held.order);
  rounds_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace causeway::kernel
