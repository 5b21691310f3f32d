#include "iommu/iommu_pages.h"

#include <utility>

namespace causeway::iommu {

namespace {

// page->private_data of a table: whether it is preserved, and the next one of its free list.
constexpr uint64_t kPreserved = 1;
uint64_t next_of(const mm::Page* page) { return page->private_data >> 1; }
void set_next(mm::Page* page, uint64_t pfn) { page->private_data = pfn << 1 | (page->private_data & kPreserved); }

Order order_of(const mm::Page* page) { return page->has(mm::kPageHead) ? Order(page->order) : kOrder0; }

}  // namespace

FreeList& FreeList::operator=(FreeList&& other) noexcept {
  head_ = std::exchange(other.head_, 0);
  return *this;
}

void FreeList::add(IommuPages& pages, void* table) {
  mm::MemMap& map = pages.allocator().map();
  mm::Page* page = map.page_of_address(table);
  set_next(page, head_);
  head_ = map.pfn(page).value();
}

void FreeList::splice(IommuPages& pages, FreeList&& other) {
  if (other.head_ == 0) return;
  // What joins is mostly shorter than what has been gathered.
  if (head_ != 0) {
    mm::MemMap& map = pages.allocator().map();
    mm::Page* last = map.page(Pfn(other.head_));
    while (next_of(last) != 0) last = map.page(Pfn(next_of(last)));
    set_next(last, head_);
  }
  head_ = other.head_;
  other.head_ = 0;
}

Result<uint64_t*> IommuPages::allocate(Order order, mm::Gfp gfp) {
  if (order.value() != 0) gfp = gfp | mm::Gfp::kComp;
  mm::Page* page = CW_TRY(allocator_.alloc_pages(order, gfp | mm::kGfpZero));
  page->private_data = 0;
  pages_.fetch_add(order.pages(), std::memory_order_relaxed);
  return allocator_.map().address_as<uint64_t>(page);
}

void IommuPages::free(void* table) {
  mm::Page* page = allocator_.map().page_of_address(table);
  unpreserve(table);
  page->private_data = 0;
  pages_.fetch_sub(order_of(page).pages(), std::memory_order_relaxed);
  allocator_.put_page(page);
}

void IommuPages::free(FreeList& list) {
  mm::MemMap& map = allocator_.map();
  for (uint64_t pfn = std::exchange(list.head_, 0); pfn != 0;) {
    mm::Page* page = map.page(Pfn(pfn));
    pfn = next_of(page);
    free(map.address(page));
  }
}

Status IommuPages::preserve(void* table) {
  if (kho_ == nullptr) return fail(EOPNOTSUPP, "there is no handover");
  mm::Page* page = allocator_.map().page_of_address(table);
  if ((page->private_data & kPreserved) != 0) return {};
  CW_TRY(kho_->preserve_folio(page));
  page->private_data |= kPreserved;
  return {};
}

void IommuPages::unpreserve(void* table) {
  mm::Page* page = allocator_.map().page_of_address(table);
  if ((page->private_data & kPreserved) == 0) return;
  page->private_data &= ~kPreserved;
  kho_->unpreserve_folio(page);
}

Status IommuPages::check_preserved(PhysAddr table, Order order) const {
  if (kho_ == nullptr) return fail(EOPNOTSUPP, "there is no handover");
  if (!table.is_aligned(kPageSize) || Pfn::containing(table).value() >= allocator_.map().end_pfn())
    return fail(ENOENT, "no page of RAM");
  std::optional<Order> preserved = kho_->preserved_order(table);
  if (!preserved) return fail(ENOENT, "the page was not preserved, or it was restored before");
  if (*preserved != order) return fail(EINVAL, "the preserved page has another size");
  return {};
}

Result<uint64_t*> IommuPages::restore(PhysAddr table, Order order) {
  CW_TRY(check_preserved(table, order));
  mm::Page* page = kho_->restore_folio(table);
  if (page == nullptr) return fail(ENOENT, "the page cannot be restored");
  page->private_data = 0;
  pages_.fetch_add(order.pages(), std::memory_order_relaxed);
  return allocator_.map().address_as<uint64_t>(page);
}

}  // namespace causeway::iommu
