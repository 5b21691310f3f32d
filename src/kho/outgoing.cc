#include "kho/outgoing.h"

#include <algorithm>

#include "base/log.h"
#include "base/point.h"

namespace causeway::kho {
namespace {

PfnRange frames_of(const mm::MemRange& range) {
  return {Pfn::containing(range.base), Pfn::containing(range.end())};
}

std::vector<PfnRange> without(const std::vector<mm::MemRange>& ram, std::vector<mm::MemRange> holes) {
  std::sort(holes.begin(), holes.end(), [](const auto& a, const auto& b) { return a.base < b.base; });
  std::vector<PfnRange> result;
  for (const mm::MemRange& range : ram) {
    PfnRange rest = frames_of(range);
    for (const mm::MemRange& hole : holes) {
      const PfnRange cut = frames_of(hole);
      if (!cut.overlaps(rest)) continue;
      if (rest.begin < cut.begin) result.push_back({rest.begin, cut.begin});
      rest.begin = std::min(cut.end, rest.end);
    }
    if (!rest.empty()) result.push_back(rest);
  }
  return result;
}

}  // namespace

Result<std::unique_ptr<Outgoing>> Outgoing::create(NodeSource& nodes, Params params) {
  Coverage coverage = CW_TRY(Coverage::create(params.end_pfn));
  auto tree = CW_TRY(RadixTree::create(nodes, params.format));
  return std::unique_ptr<Outgoing>(new Outgoing(std::move(tree), std::move(coverage), std::move(params)));
}

Outgoing::Outgoing(std::unique_ptr<RadixTree> tree, Coverage coverage, Params params)
    : tree_(std::move(tree)),
      params_(std::move(params)),
      allowed_(without(params_.ram, params_.scratch)),
      coverage_(std::move(coverage)) {}

inline Status Outgoing::check_place(const Block& block) {
  if (block.pfn >= window_.begin && block.pfn < window_.end && block.order.value() < 52 &&
      block.order.pages() <= window_.end - block.pfn && block.pfn.is_aligned(block.order)) [[likely]]
    return {};
  return check_place_slowly(block);
}

tl::unexpected<Error> Outgoing::refuse(const Block& block, int code, const char* reason) const {
  if (params_.verbose) log::warn("kho", "not preserving order {} at {}: {}", block.order, block.pfn, reason);
  return fail(code, reason);
}

Status Outgoing::check_place_slowly(const Block& block) {
  if (block.order.value() >= 52 || !block.pfn.is_aligned(block.order))
    return refuse(block, EINVAL, "block not aligned to its order");
  if (block.pfn.value() >= params_.end_pfn || block.order.pages() > params_.end_pfn - block.pfn.value())
    return refuse(block, EINVAL, "block beyond the last frame");
  const PfnRange frames = block.range();
  auto home = std::partition_point(allowed_.begin(), allowed_.end(),
                                   [&](const PfnRange& range) { return range.end <= frames.begin; });
  if (home != allowed_.end() && home->begin <= frames.begin && frames.end <= home->end) {
    window_ = *home;
    return {};
  }
  for (const mm::MemRange& area : params_.scratch)
    if (frames.overlaps(frames_of(area))) return refuse(block, EINVAL, "block overlaps scratch");
  if (params_.is_hot_added && params_.is_hot_added(frames.begin) && params_.is_hot_added(frames.end - 1))
    return {};
  return refuse(block, EINVAL, "block is not RAM");
}

inline Result<bool> Outgoing::add_locked(RadixTree::Writer& writer, const Block& block) {
  if (Status placed = check_place(block); !placed.has_value()) [[unlikely]]
    return fail(placed.error());
  const PfnRange frames = block.range();
  const uint64_t key = encode_key(block, params_.format);
  if (coverage_.any(frames)) [[unlikely]] {
    if (writer.contains(key)) return false;
    return refuse(block, EBUSY, "block overlaps a preserved block of another order or type");
  }
  auto added = writer.add(key);
  if (!added.has_value()) [[unlikely]]
    return added;
  coverage_.set(frames);
  pages_ += block.order.pages();
  return true;
}

Status Outgoing::add(const Block& block) {
  RadixTree::Writer writer(*tree_);
  auto added = add_locked(writer, block);
  if (!added.has_value()) return fail(added.error());
  CW_POINT("kho.preserve.after_key");
  return {};
}

Status Outgoing::add_all(std::span<const Block> blocks) {
  // Which blocks this call added, 64 to a word: what a failure has to take back.
  std::vector<uint64_t> added((blocks.size() + 63) / 64);
  RadixTree::Writer writer(*tree_);
  for (size_t i = 0; i < blocks.size(); ++i) {
    auto was_new = add_locked(writer, blocks[i]);
    if (!was_new.has_value()) [[unlikely]] {
      for (size_t j = i; j-- > 0;)
        if ((added[j / 64] >> j % 64 & 1) != 0) remove_locked(writer, blocks[j]);
      return fail(was_new.error());
    }
    added[i / 64] |= uint64_t{*was_new} << i % 64;
    CW_POINT("kho.preserve.in_batch");
  }
  return {};
}

bool Outgoing::remove_locked(RadixTree::Writer& writer, const Block& block) {
  Block other = block;
  other.type = block.type == PageType::kContig ? PageType::kSplit : PageType::kContig;
  const uint64_t other_key = encode_key(other, params_.format);
  // Asked first, so that only a block of neither type can draw the warning about a missing path.
  const bool removed =
      writer.remove_if_present(other_key) || writer.remove(encode_key(block, params_.format));
  if (!removed) return false;
  coverage_.clear(block.range());
  pages_ -= block.order.pages();
  return true;
}

bool Outgoing::remove(const Block& block) {
  RadixTree::Writer writer(*tree_);
  if (block.order.value() >= 52 || !block.pfn.is_aligned(block.order)) {
    log::warn("kho", "unpreserving {}: not aligned to order {}", block.pfn, block.order);
    return false;
  }
  const bool removed = remove_locked(writer, block);
  CW_POINT("kho.unpreserve.after_key");
  return removed;
}

bool Outgoing::contains(const Block& block) const {
  return tree_->contains(encode_key(block, params_.format));
}

bool Outgoing::overlaps(PfnRange range) const {
  RadixTree::Writer writer(*tree_);
  return !range.empty() && range.end.value() <= params_.end_pfn && coverage_.any(range);
}

Status Outgoing::replace(std::span<const Block> removed, std::span<const Block> added,
                         const std::function<Status(PhysAddr)>& publish) {
  RadixTree::Writer writer(*tree_);
  std::vector<uint64_t> old_keys, new_keys;
  for (const Block& block : removed) old_keys.push_back(encode_key(block, params_.format));
  for (const Block& block : added) {
    CW_TRY(check_place(block));
    new_keys.push_back(encode_key(block, params_.format));
  }
  CW_TRY(writer.replace(old_keys, new_keys, publish));
  for (const Block& block : removed) {
    coverage_.clear(block.range());
    pages_ -= block.order.pages();
  }
  for (const Block& block : added) {
    coverage_.set(block.range());
    pages_ += block.order.pages();
  }
  return {};
}

Outgoing::Stats Outgoing::stats() const {
  RadixTree::Writer writer(*tree_);
  return {writer.size(), pages_, writer.nodes()};
}

}  // namespace causeway::kho
