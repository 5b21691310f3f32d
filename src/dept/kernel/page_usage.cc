#include "dept/kernel/page_usage.h"

#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

Event event_of(PageUsage usage) { return static_cast<Event>(usage); }

PageUsage present(uint32_t word) { return static_cast<PageUsage>(word & 0xffff); }
PageUsage pending(uint32_t word) { return static_cast<PageUsage>(word >> 16); }

}  // namespace

void set_page_usage(Page& page, PageUsage usage) {
  uint32_t word = page.usage.load(std::memory_order_relaxed);
  while (!page.usage.compare_exchange_weak(word, (word & 0xffff) | static_cast<uint32_t>(usage) << 16,
                                           std::memory_order_relaxed)) {
  }
}

void reset_page_usage(Page& page) { set_page_usage(page, PageUsage::kDefault); }

PageUsage page_usage(const Page& page) {
  const uint32_t word = page.usage.load(std::memory_order_relaxed);
  return present(word) == pending(word) ? present(word) : PageUsage::kDefault;
}

void page_wait(Map& map, Page& page, Site site) {
  const EventMask events = bit(Event::kWrite) | bit(event_of(page_usage(page)));
  request_event(map, &page.locked, site);
  wait(map, events, site, 0, 0);
}

void page_locked(Map& map, Page& page, Site site) {
  uint32_t word = page.usage.load(std::memory_order_relaxed);
  while (!page.usage.compare_exchange_weak(word, (word & 0xffff0000) | word >> 16, std::memory_order_relaxed)) {
  }
  // Again after a wait for it, so that the order is always wait, set, clear.
  request_event(map, &page.locked, site);
}

void page_unlocked(Map& map, Page& page, Site site) { event(map, event_of(page_usage(page)), site, &page.locked); }

}  // namespace causeway::dept::kernel
