// The new kernel's side: preserved blocks become allocated pages.
#include <algorithm>

#include "base/log.h"
#include "base/point.h"
#include "kho/kho_state.h"
#include "kho/stamp.h"

namespace causeway::kho {

std::optional<Block> Kho::State::preserved_block(PhysAddr phys) const {
  const Pfn pfn = Pfn::containing(phys);
  if (phys.page_offset() != 0 || pfn.value() >= map.end_pfn() || in_client({pfn, pfn + 1})) return std::nullopt;
  auto block = read_stamp(*map.page(pfn), pfn);
  if (!block.has_value() || block->order.pages() > map.end_pfn() - pfn.value()) return std::nullopt;
  return block;
}

bool Kho::State::in_client(PfnRange range) const {
  auto found = std::partition_point(client.begin(), client.end(),
                                    [&](const PfnRange& part) { return part.end <= range.begin; });
  return found != client.end() && found->overlaps(range);
}

std::optional<size_t> Kho::State::client_block(PhysAddr phys) const {
  const Pfn pfn = Pfn::containing(phys);
  if (claimed == nullptr || phys.page_offset() != 0 || !in_client({pfn, pfn + 1})) return std::nullopt;
  const Block* block = incoming->block_at(pfn);
  if (block == nullptr || block->pfn != pfn) return std::nullopt;
  const auto index = static_cast<size_t>(block - incoming->blocks().data());
  return claimed[index].load(std::memory_order_acquire) == 0 ? std::optional(index) : std::nullopt;
}

bool Kho::State::is_unrestored(const Block& block) const {
  if (in_client(block.range())) return client_block(block.pfn.address()).has_value();
  return read_stamp(*map.page(block.pfn), block.pfn) == block;
}

bool Kho::State::check_run(PhysAddr phys, uint64_t count) const {
  const Pfn begin = Pfn::containing(phys);
  if (count == 0 || begin.value() >= map.end_pfn() || count > map.end_pfn() - begin.value()) return false;
  for (Pfn pfn = begin; pfn < begin + count;) {
    // Steps by what was recorded: a run need not be cut the way this kernel would cut it.
    const auto block = preserved_block(pfn == begin ? phys : pfn.address());
    if (!block.has_value()) return false;
    pfn = block->range().end;
  }
  return true;
}

mm::Page* Kho::State::refuse_restore(PhysAddr phys, const char* reason) {
  failed_restores.fetch_add(1, std::memory_order_relaxed);
  if (!warned_restore.exchange(true, std::memory_order_relaxed))
    log::warn("kho", "cannot restore {}: {} (later ones are only counted)", phys, reason);
  return nullptr;
}

// False: another caller restored the block since it was looked at.
bool Kho::State::restore_block(const Block& block, Counts counts) {
  mm::Page* head = map.page(block.pfn);
  if (!claim_stamp(*head, block)) return false;
  CW_POINT("kho.restore.after_claim");
  // Tails are untouched since the boot, and zero: nothing in them is to be set for counts on the head only.
  const uint64_t counted = counts == Counts::kEveryPage ? block.order.pages() : 1;
  for (uint64_t i = 0; i < counted; ++i) head[i].set_count(1);
  if (counts == Counts::kFolio && block.order > kOrder0) allocator->prep_compound(head, block.order);
  CW_POINT("kho.restore.after_counts");
  allocator->adopt_reserved(head, block.order);
  restored_pages.fetch_add(block.order.pages(), std::memory_order_relaxed);
  CW_POINT("kho.restore.after_adopt");
  return true;
}

mm::Page* Kho::restore_folio(PhysAddr phys) {
  State& s = *state_;
  if (!s.active()) return s.refuse_restore(phys, "KHO is off, or before init()");
  const auto block = s.preserved_block(phys);
  if (!block.has_value() || !s.restore_block(*block, State::Counts::kFolio))
    return s.refuse_restore(phys, "not the head of a preserved block, or restored before");
  return s.map.page(block->pfn);
}

mm::Page* Kho::restore_page(PhysAddr phys) {
  State& s = *state_;
  if (!s.active()) return s.refuse_restore(phys, "KHO is off, or before init()");
  const auto block = s.preserved_block(phys);
  if (!block.has_value() || !s.restore_block(*block, State::Counts::kHeadOnly))
    return s.refuse_restore(phys, "not the head of a preserved block, or restored before");
  return s.map.page(block->pfn);
}

mm::Page* Kho::restore_pages(PhysAddr phys, uint64_t count) {
  State& s = *state_;
  if (!s.active()) return s.refuse_restore(phys, "KHO is off, or before init()");
  if (!s.check_run(phys, count)) return s.refuse_restore(phys, "the run is not wholly preserved");
  const bool typed = s.incoming->format() == Format::kTyped;
  const Pfn begin = Pfn::containing(phys);
  for (Pfn pfn = begin; pfn < begin + count;) {
    const auto block = s.preserved_block(pfn.address());
    if (!block.has_value()) return s.refuse_restore(pfn.address(), "restored by somebody else meanwhile");
    const bool split = !typed || block->type == PageType::kSplit;
    if (!s.restore_block(*block, split ? State::Counts::kEveryPage : State::Counts::kHeadOnly))
      return s.refuse_restore(pfn.address(), "restored by somebody else meanwhile");
    pfn = block->range().end;
  }
  return s.map.page(begin);
}

std::optional<Order> Kho::preserved_order(PhysAddr phys) const {
  const auto block = state_->preserved_block(phys);
  return block.has_value() ? std::optional(block->order) : std::nullopt;
}

bool Kho::claim(PhysAddr phys) {
  State& s = *state_;
  const auto index = s.client_block(phys);
  if (!index.has_value() || s.claimed[*index].exchange(1, std::memory_order_acq_rel) != 0) {
    s.refuse_restore(phys, "not the head of a preserved block of client memory, or claimed before");
    return false;
  }
  s.restored_pages.fetch_add(s.incoming->blocks()[*index].order.pages(), std::memory_order_relaxed);
  CW_POINT("kho.claim.after_claim");
  return true;
}

std::optional<Order> Kho::client_order(PhysAddr phys) const {
  const auto index = state_->client_block(phys);
  return index.has_value() ? std::optional(state_->incoming->blocks()[*index].order) : std::nullopt;
}

bool Kho::has_unrestored(PfnRange range) const {
  const State& s = *state_;
  if (!s.incoming.has_value()) return false;
  const auto& blocks = s.incoming->blocks();
  auto block = std::partition_point(blocks.begin(), blocks.end(),
                                    [&](const Block& b) { return b.range().end <= range.begin; });
  for (; block != blocks.end() && block->pfn < range.end; ++block)
    if (s.is_unrestored(*block)) return true;
  return false;
}

void Kho::restore_free(void* memory) {
  State& s = *state_;
  if (memory == nullptr) return;
  if (!s.map.direct_map().contains(memory)) {
    s.refuse_restore(PhysAddr(0), "a pointer outside the direct map");
    return;
  }
  mm::Page* folio = restore_folio(s.map.direct_map().to_phys(memory));
  if (folio == nullptr) return;
  after_commit([allocator = s.allocator, folio] { allocator->put_page(folio); });
}

std::vector<Block> Kho::unrestored() const {
  const State& s = *state_;
  std::vector<Block> blocks;
  if (!s.incoming.has_value()) return blocks;
  for (const Block& block : s.incoming->blocks()) {
    const bool by_design =
        block.range().contains(Pfn::containing(s.incoming->fdt())) ||
        (s.incoming_metadata != PhysAddr(0) && block.range().contains(Pfn::containing(s.incoming_metadata)));
    if (!by_design && s.is_unrestored(block)) blocks.push_back(block);
  }
  return blocks;
}

KhoStats Kho::stats() const {
  const State& s = *state_;
  KhoStats stats;
  stats.kho_boot = s.incoming.has_value();
  stats.kexec_count = s.kexec_count;
  stats.previous_release = s.previous_release;
  stats.incoming_pages = s.incoming_pages;
  stats.restored_pages = s.restored_pages.load(std::memory_order_relaxed);
  stats.unrestored_pages = stats.incoming_pages - stats.restored_pages;
  stats.failed_restores = s.failed_restores.load(std::memory_order_relaxed);
  if (s.incoming.has_value()) {
    stats.incoming_blocks = s.incoming->blocks().size();
    const Block* last = nullptr;
    for (PhysAddr page : {s.incoming->fdt(), s.incoming_metadata}) {
      const Block* block = page == PhysAddr(0) ? nullptr : s.incoming->block_at(Pfn::containing(page));
      if (block == nullptr || block == last || read_stamp(*s.map.page(block->pfn), block->pfn) != *block)
        continue;
      stats.unrestored_by_design += block->order.pages();
      last = block;
    }
  }
  if (s.outgoing != nullptr) {
    const Outgoing::Stats outgoing = s.outgoing->stats();
    stats.preserved_blocks = outgoing.blocks;
    stats.preserved_pages = outgoing.pages;
    stats.tree_pages = outgoing.nodes;
  }
  return stats;
}

}  // namespace causeway::kho
