// The free lists of one zone: blocks of 2^order frames, by migratetype and order. A block is known by
// kPageBuddy on its first page; lists are linked through the pages by frame number.
//
// Not thread-safe: the zone's lock covers it. Frame 0 ends a list, so it never is in one.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "mm/migrate_type.h"
#include "mm/page.h"

namespace causeway::mm {

class BuddyLists {
 public:
  explicit BuddyLists(MemMap& map) : map_(&map) {}

  void insert(Pfn pfn, unsigned order, MigrateType type);
  // Takes a block that is in a list out; its page has no flags then.
  void remove(Pfn pfn);
  // To another list of the same order.
  void move(Pfn pfn, MigrateType type);

  // First block of exactly this order; it stays in the list.
  std::optional<Pfn> front(unsigned order, MigrateType type) const;
  // The smallest order of at least `order` that has blocks of this type.
  std::optional<unsigned> smallest(unsigned order, MigrateType type) const {
    unsigned orders = static_cast<unsigned>(filled_[index(type)]) >> order << order;
    if (orders == 0) return std::nullopt;
    return static_cast<unsigned>(std::countr_zero(orders));
  }
  bool has(unsigned order, MigrateType type) const { return (filled_[index(type)] >> order & 1) != 0; }
  // The block after `pfn` in its list.
  std::optional<Pfn> after(Pfn pfn) const;

  bool is_block(Pfn pfn, unsigned order) const {
    const Page* page = map_->page(pfn);
    return page->has(kPageBuddy) && page->order == order;
  }
  // The free block that contains `pfn`.
  std::optional<PfnRange> enclosing(Pfn pfn) const;

  uint64_t pages() const { return pages_; }
  uint64_t pages(MigrateType type) const { return pages_of_[index(type)]; }

 private:
  static constexpr unsigned index(MigrateType type) { return static_cast<unsigned>(type); }
  void unlink(Pfn pfn, Page* page);
  void link(Pfn pfn, Page* page, unsigned order, MigrateType type);

  MemMap* map_;
  uint32_t heads_[kMigrateTypes][kOrders] = {};
  uint16_t filled_[kMigrateTypes] = {};  // bit per order: the list is not empty
  uint64_t pages_of_[kMigrateTypes] = {};
  uint64_t pages_ = 0;
};

}  // namespace causeway::mm
