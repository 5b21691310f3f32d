// Pages by use: one static map for the lock bit of all pages, and what a page is used for decides its event.
//
//   kernel::Page page;                                 // in each page: a stamp and its use
//   kernel::set_page_usage(page, kernel::PageUsage::kRegularFile);
//   kernel::page_wait(lock_map, page, site);           // every lock of a page counts as a wait
//   kernel::page_locked(lock_map, page, site);         // the bit is set
//   kernel::page_unlocked(lock_map, page, site);       // just before it is cleared, by whoever; again: harmless
//
// A file's cache and a block device's never share a page, though both share one with pages of unknown use: a wait is for the events
// kDefault and that of the page, an event is the page's own. A change of use counts from the next lock; until then the page is kDefault.
#pragma once

#include "dept/kernel/raw.h"

namespace causeway::dept::kernel {

enum class PageUsage : uint16_t { kDefault, kRegularFile, kBlockDevice };

struct Page {
  ExtWgen locked;
  std::atomic<uint32_t> usage{0};  // lower half: present, upper half: from the next lock on
};

void set_page_usage(Page& page, PageUsage usage);
void reset_page_usage(Page& page);
PageUsage page_usage(const Page& page);

void page_wait(Map& map, Page& page, Site site);
void page_locked(Map& map, Page& page, Site site);
void page_unlocked(Map& map, Page& page, Site site);

}  // namespace causeway::dept::kernel
