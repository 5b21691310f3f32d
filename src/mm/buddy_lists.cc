#include "mm/buddy_lists.h"

#include <cassert>

namespace causeway::mm {

void BuddyLists::link(Pfn pfn, Page* page, unsigned order, MigrateType type) {
  uint32_t& head = heads_[index(type)][order];
  page->order = static_cast<uint8_t>(order);
  page->migratetype = static_cast<uint8_t>(type);
  page->prev = 0;
  page->next = head;
  if (head != 0) map_->page(Pfn(head))->prev = static_cast<uint32_t>(pfn.value());
  head = static_cast<uint32_t>(pfn.value());
  filled_[index(type)] = static_cast<uint16_t>(filled_[index(type)] | 1u << order);
  pages_of_[index(type)] += uint64_t{1} << order;
}

void BuddyLists::unlink(Pfn pfn, Page* page) {
  unsigned type = page->migratetype;
  unsigned order = page->order;
  uint32_t& head = heads_[type][order];
  if (page->prev != 0) {
    map_->page(Pfn(page->prev))->next = page->next;
  } else {
    assert(head == pfn.value());
    head = page->next;
  }
  (void)pfn;
  if (page->next != 0) map_->page(Pfn(page->next))->prev = page->prev;
  if (head == 0) filled_[type] = static_cast<uint16_t>(filled_[type] & ~(1u << order));
  pages_of_[type] -= uint64_t{1} << order;
}

void BuddyLists::insert(Pfn pfn, unsigned order, MigrateType type) {
  assert(pfn.value() != 0 && pfn.is_aligned(Order(order)));
  Page* page = map_->page(pfn);
  link(pfn, page, order, type);
  page->set(kPageBuddy);
  pages_ += uint64_t{1} << order;
}

void BuddyLists::remove(Pfn pfn) {
  Page* page = map_->page(pfn);
  assert(page->has(kPageBuddy));
  unlink(pfn, page);
  page->clear(kPageBuddy);
  page->next = page->prev = 0;
  pages_ -= uint64_t{1} << page->order;
}

void BuddyLists::move(Pfn pfn, MigrateType type) {
  Page* page = map_->page(pfn);
  unlink(pfn, page);
  link(pfn, page, page->order, type);
}

std::optional<Pfn> BuddyLists::front(unsigned order, MigrateType type) const {
  uint32_t head = heads_[index(type)][order];
  if (head == 0) return std::nullopt;
  return Pfn(head);
}

std::optional<Pfn> BuddyLists::after(Pfn pfn) const {
  uint32_t next = map_->page(pfn)->next;
  if (next == 0) return std::nullopt;
  return Pfn(next);
}

std::optional<PfnRange> BuddyLists::enclosing(Pfn pfn) const {
  for (unsigned order = 0; order < kOrders; ++order) {
    Pfn head(align_down(pfn.value(), uint64_t{1} << order));
    const Page* page = map_->page(head);
    if (page->has(kPageBuddy) && page->order >= order)
      return PfnRange{head, head + (uint64_t{1} << page->order)};
  }
  return std::nullopt;
}

}  // namespace causeway::mm
