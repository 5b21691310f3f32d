// The old kernel's side: which memory is to survive.
#include <array>

#include "base/log.h"
#include "base/point.h"
#include "kho/kho_state.h"

namespace causeway::kho {
namespace {

Order order_of(const mm::Page& folio) {
  return folio.has(mm::kPageHead) ? Order(folio.order) : kOrder0;
}

// The blocks KHO cuts a run into. Without an allocation: at most two of every order.
class Run {
 public:
  // With the type of each block as `type_of` sees it.
  template <typename TypeOf>
  Run(Pfn pfn, uint64_t count, TypeOf type_of) {
    while (count > 0 && count_ < kMost) {
      const Order order = block_order_at(pfn, count);
      blocks_[count_++] = {pfn, order, type_of(pfn, order)};
      pfn += order.pages();
      count -= order.pages();
    }
  }
  std::span<const Block> blocks() const { return {blocks_.data(), count_}; }

 private:
  static constexpr size_t kMost = 2 * 53;
  std::array<Block, kMost> blocks_;
  size_t count_ = 0;
};

PageType any_type(Pfn, Order) {
  return PageType::kContig;
}

// A heuristic, the RFC's own: the second page of a split block has a reference of its own.
PageType detect_type(const mm::MemMap& map, Format format, Pfn pfn, Order order) {
  if (format != Format::kTyped || order == kOrder0) return PageType::kContig;
  return map.page(pfn + 1)->count() != 0 ? PageType::kSplit : PageType::kContig;
}

}  // namespace

Status Kho::preserve_folio(mm::Page* folio) {
  if (folio->has(mm::kPageTail)) return fail(EINVAL, "a tail page, want the head of the folio");
  return preserve_page(folio, order_of(*folio));
}

void Kho::unpreserve_folio(mm::Page* folio) {
  unpreserve_page(folio, order_of(*folio));
}

Status Kho::preserve_page(mm::Page* page, Order order) {
  State& s = *state_;
  CW_TRY(s.require_active());
  CW_FAIL_POINT("kho.preserve.page");
  return s.outgoing->add({s.map.pfn(page), order, PageType::kContig});
}

void Kho::unpreserve_page(mm::Page* page, Order order) {
  State& s = *state_;
  if (!s.require_active()) return;
  s.outgoing->remove({s.map.pfn(page), order, PageType::kContig});
}

Status Kho::preserve_pages(mm::Page* page, uint64_t count) {
  State& s = *state_;
  CW_TRY(s.require_active());
  if (count == 0) return {};
  const Pfn pfn = s.map.pfn(page);
  if (pfn.value() >= s.map.end_pfn() || count > s.map.end_pfn() - pfn.value())
    return fail(EINVAL, "run of pages beyond the last frame");
  CW_FAIL_POINT("kho.preserve.pages");
  const Format format = s.params.format;
  const Order order = block_order_at(pfn, count);
  if (order.pages() == count) return s.outgoing->add({pfn, order, detect_type(s.map, format, pfn, order)});
  const Run run(pfn, count, [&](Pfn at, Order o) { return detect_type(s.map, format, at, o); });
  return s.outgoing->add_all(run.blocks());
}

void Kho::unpreserve_pages(mm::Page* page, uint64_t count) {
  State& s = *state_;
  if (!s.require_active() || count == 0) return;
  const Run run(s.map.pfn(page), count, any_type);
  for (const Block& block : run.blocks()) s.outgoing->remove(block);
}

Status Kho::preserve_blocks(std::span<const Block> blocks) {
  State& s = *state_;
  CW_TRY(s.require_active());
  CW_FAIL_POINT("kho.preserve.blocks");
  return s.outgoing->add_all(blocks);
}

bool Kho::is_preserved(PfnRange range) const {
  return state_->active() && state_->outgoing->overlaps(range);
}

Status Kho::split_preserved_pages(mm::Page* page, uint64_t count) {
  State& s = *state_;
  CW_TRY(s.require_active());
  if (s.params.format != Format::kTyped)
    return fail(EOPNOTSUPP, "this handover format does not record types: unpreserve, split, preserve again");
  if (count == 0) return {};
  const Run run(s.map.pfn(page), count, any_type);
  std::vector<Block> contiguous, split;
  for (const Block& block : run.blocks()) {
    Block as_split = block;
    as_split.type = PageType::kSplit;
    const bool is_contiguous = s.outgoing->contains(block);
    if (!is_contiguous && !s.outgoing->contains(as_split))
      return fail(ENOENT, "pages are not preserved as this run");
    if (!is_contiguous || block.order == kOrder0) continue;
    contiguous.push_back(block);
    split.push_back(as_split);
  }
  if (contiguous.empty()) return {};
  CW_FAIL_POINT("kho.preserve.split");
  // One step, or a kernel that died in between would leave a block under both types, or under none.
  sync::MutexLock lock(s.fdt_mutex);
  return s.switch_fdt_and_tree(contiguous, split);
}

Result<void*> Kho::alloc_preserve(uint64_t size) {
  State& s = *state_;
  CW_TRY(s.require_active());
  if (size == 0) return fail(EINVAL, "preserved memory of size 0");
  const Order order = Order::covering(size);
  if (order > mm::kMaxPageOrder) return fail(E2BIG, "larger than the largest block of the page allocator");
  CW_FAIL_POINT("kho.alloc_preserve.alloc");
  mm::Page* folio = CW_TRY(s.allocator->alloc_pages(order, mm::kGfpKernel | mm::kGfpZero | mm::Gfp::kComp));
  CW_POINT("kho.alloc_preserve.after_alloc");
  if (Status preserved = preserve_folio(folio); !preserved.has_value()) {
    s.allocator->free_pages(folio, order);
    return fail(preserved.error());
  }
  CW_POINT("kho.alloc_preserve.after_preserve");
  return static_cast<void*>(s.map.address(folio));
}

void Kho::unpreserve_free(void* memory) {
  State& s = *state_;
  if (memory == nullptr || !s.require_active()) return;
  mm::Page* folio = s.map.page_of_address(memory);
  unpreserve_folio(folio);
  CW_POINT("kho.alloc_preserve.after_unpreserve");
  s.allocator->put_page(folio);
}

}  // namespace causeway::kho
