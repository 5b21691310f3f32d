#include "inspect/tree.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace causeway::inspect {
namespace {

namespace abi = kho::abi;
using kho::Block;
using kho::PageType;

constexpr unsigned kWords = abi::kLeafBits / 64;

// Read once, and from any alignment.
uint64_t word_at(const std::byte* page, unsigned index) {
  uint64_t word;
  std::memcpy(&word, page + index * sizeof word, sizeof word);
  return word;
}

uint64_t id_of(uint64_t prefix, unsigned level) { return prefix << 3 | level; }

// A block's bytes can be counted in 64 bits.
bool is_countable(const Block& block) { return block.order.value() < 64 - kPageShift; }

}  // namespace

void Tree::read(PhysAddr root, Findings& findings) {
  root_ = root;
  read_node(root, abi::kTreeDepth - 1, 0, PhysAddr(0), findings);
}

void Tree::read_node(PhysAddr page, unsigned level, uint64_t prefix, PhysAddr parent, Findings& findings) {
  if (full_) return;
  if (!page.is_aligned(kPageSize)) {
    findings.error("tree.node-alignment", page, "a level {} node linked from {} is not page aligned", level, parent);
    return;
  }
  const std::byte* bytes = memory_.at(page, kPageSize);
  if (bytes == nullptr) {
    if (memory_.ram_is_known() && !memory_.is_ram(page, kPageSize))
      findings.error("tree.node-not-ram", page, "a level {} node linked from {} is not in RAM", level, parent);
    else
      findings.error("tree.node-missing", page,
                     "the image does not hold this level {} node, linked from {}: the blocks below it are not shown", level,
                     parent);
    return;
  }
  if (nodes_.size() >= limits_.max_nodes) {
    findings.error("tree.too-many-nodes", page, "more than {} nodes: the rest is not shown", limits_.max_nodes);
    full_ = true;
    return;
  }
  if (!nodes_.emplace(page.value(), id_of(prefix, level)).second) {
    findings.error("tree.node-shared", page,
                   "reached a second time, as a level {} node linked from {}: a cycle or a shared node", level, parent);
    return;
  }
  ++stats_.nodes;
  if (level == 0) {
    ++stats_.leaves;
    leaves_.push_back({prefix, page, bytes});
    count_leaf(leaves_.back(), findings);
    return;
  }
  for (unsigned i = 0; i < abi::kTableEntries; ++i)
    if (const uint64_t child = word_at(bytes, i); child != 0)
      read_node(PhysAddr(child), level - 1, prefix << abi::kTableLog2 | i, page, findings);
}

void Tree::count_leaf(const Leaf& leaf, Findings& findings) {
  auto count = [&](const Block& block, uint64_t blocks) {
    const unsigned order = block.order.value();
    stats_.blocks += blocks;
    stats_.by_order[order] += blocks;
    if (block.type == PageType::kSplit) stats_.split += blocks;
    present_[static_cast<size_t>(block.type)] |= uint64_t{1} << order;
    uint64_t bytes = 0;
    if (!is_countable(block) || __builtin_mul_overflow(block.order.bytes(), blocks, &bytes) ||
        !checked_add(stats_.bytes, bytes, &stats_.bytes))
      stats_.bytes = ~uint64_t{0};
  };
  auto complain = [&](uint64_t key, const Error& error, uint64_t keys) {
    findings.error("tree.key", leaf.page, "key {:#x} of {} in this leaf: {}", key, keys, error.message);
  };
  const uint64_t first = leaf.prefix << abi::kBitmapLog2;
  // All keys of a leaf are of one order, if the order bit is in the prefix.
  const uint64_t type_mask = format_ == kho::Format::kTyped ? uint64_t{1} << (abi::kTypeBit - abi::kBitmapLog2) : 0;
  if ((leaf.prefix & ~type_mask) != 0) {
    uint64_t blocks = 0;
    for (unsigned i = 0; i < kWords; ++i) blocks += static_cast<unsigned>(std::popcount(word_at(leaf.bits, i)));
    if (blocks == 0) return;
    if (auto block = kho::decode_key(first, format_); block.has_value())
      count(*block, blocks);
    else
      complain(first, block.error(), blocks);
    return;
  }
  for (unsigned i = 0; i < kWords; ++i) {
    for (uint64_t word = word_at(leaf.bits, i); word != 0; word &= word - 1) {
      const uint64_t key = first | i * 64 | static_cast<unsigned>(std::countr_zero(word));
      if (auto block = kho::decode_key(key, format_); block.has_value())
        count(*block, 1);
      else
        complain(key, block.error(), 1);
    }
  }
}

const std::byte* Tree::leaf_of(uint64_t key) const {
  PhysAddr page = root_;
  for (unsigned level = abi::kTreeDepth - 1;; --level) {
    const uint64_t prefix = key >> (abi::kBitmapLog2 + level * abi::kTableLog2);
    // Only links that the walk has followed count.
    const auto node = nodes_.find(page.value());
    const uint64_t own = level == abi::kTreeDepth - 1 ? 0 : prefix;
    if (node == nodes_.end() || node->second != id_of(own, level)) return nullptr;
    const std::byte* bytes = memory_.at(page, kPageSize);
    if (bytes == nullptr || level == 0) return bytes;
    const uint64_t below = key >> (abi::kBitmapLog2 + (level - 1) * abi::kTableLog2);
    page = PhysAddr(word_at(bytes, below % abi::kTableEntries));
    if (page == PhysAddr(0)) return nullptr;
  }
}

bool Tree::contains(uint64_t key) const {
  const uint64_t prefix = key >> abi::kBitmapLog2;
  const size_t type = format_ == kho::Format::kTyped && (key >> abi::kTypeBit & 1) != 0;
  const uint64_t order_key = key & ~(uint64_t{1} << abi::kTypeBit);
  const unsigned order = kOrders - static_cast<unsigned>(std::bit_width(order_key));
  Cached& cached = cache_[type][order];
  if (cached.prefix != prefix) cached = {prefix, leaf_of(key)};
  const uint64_t bit = key % abi::kLeafBits;
  return cached.bits != nullptr && (word_at(cached.bits, static_cast<unsigned>(bit / 64)) >> bit % 64 & 1) != 0;
}

bool Tree::holds(Pfn pfn, unsigned order, PageType type) const {
  if ((present_[static_cast<size_t>(type)] >> order & 1) == 0) return false;
  const uint64_t start = align_down(pfn.value(), uint64_t{1} << order);
  return contains(kho::encode_key({Pfn(start), Order(order), type}, format_));
}

std::optional<Block> Tree::block_at(Pfn pfn) const {
  if (pfn.value() >> (kOrders - 1) != 0) return std::nullopt;
  for (uint64_t orders = present_[0] | present_[1]; orders != 0; orders &= orders - 1) {
    const auto order = static_cast<unsigned>(std::countr_zero(orders));
    for (PageType type : {PageType::kContig, PageType::kSplit})
      if (holds(pfn, order, type))
        return Block{Pfn(align_down(pfn.value(), uint64_t{1} << order)), Order(order), type};
  }
  return std::nullopt;
}

bool Tree::is_preserved(PhysAddr phys, uint64_t size) const {
  uint64_t end = 0;
  if (size == 0 || !checked_add(phys.value(), size, &end)) return false;
  for (Pfn pfn = Pfn::containing(phys); pfn.value() <= (end - 1) >> kPageShift;) {
    const auto block = block_at(pfn);
    if (!block.has_value()) return false;
    pfn = block->pfn + block->order.pages();
  }
  return true;
}

// Blocks are aligned to their size: two overlap when one holds the other's first page.
std::optional<Block> Tree::larger_block_over(const Block& block) const {
  const unsigned own = block.order.value();
  // The same block with both types: told once.
  if (block.type == PageType::kContig && holds(block.pfn, own, PageType::kSplit))
    return Block{block.pfn, block.order, PageType::kSplit};
  for (uint64_t orders = (present_[0] | present_[1]) & ~((uint64_t{2} << own) - 1); orders != 0; orders &= orders - 1) {
    const auto order = static_cast<unsigned>(std::countr_zero(orders));
    for (PageType type : {PageType::kContig, PageType::kSplit})
      if (holds(block.pfn, order, type))
        return Block{Pfn(align_down(block.pfn.value(), uint64_t{1} << order)), Order(order), type};
  }
  return std::nullopt;
}

void Tree::check_block(const Block& block, PhysAddr leaf, std::span<const mm::MemRange> scratch,
                       Findings& findings) const {
  const PhysAddr base = block.pfn.address();
  if (!is_countable(block)) {
    findings.error("tree.block-size", base, "a block of order {} in the leaf at {} is larger than all memory",
                   block.order, leaf);
    return;
  }
  if (memory_.ram_is_known() && !memory_.is_ram(base, block.order.bytes()))
    findings.error("tree.block-not-ram", base, "a block of order {} in the leaf at {} is not in RAM", block.order, leaf);
  for (const mm::MemRange& area : scratch) {
    if (base.value() < area.base.value() + area.size && area.base.value() <= base.value() + (block.order.bytes() - 1))
      findings.error("tree.block-in-scratch", base,
                     "a block of order {} lies in scratch at {}: the next kernel's own boot memory overwrites it",
                     block.order, area.base);
  }
}

void Tree::check_word(const Leaf& leaf, unsigned index, uint64_t word, std::span<const mm::MemRange> scratch,
                      Findings& findings, uint64_t& looked_at) const {
  const uint64_t base_key = leaf.prefix << abi::kBitmapLog2 | index * 64;
  for (uint64_t rest = word; rest != 0; rest &= rest - 1) {
    const auto block = kho::decode_key(base_key | static_cast<unsigned>(std::countr_zero(rest)), format_);
    if (!block.has_value()) continue;
    ++looked_at;
    check_block(*block, leaf.page, scratch, findings);
    if (auto other = larger_block_over(*block))
      findings.error("tree.blocks-overlap", block->pfn.address(),
                     "a block of order {} lies in one of order {} at {}: each is restored as memory of its own",
                     block->order, other->order, other->pfn.address());
  }
}

void Tree::check_blocks(std::span<const mm::MemRange> scratch, Findings& findings) const {
  uint64_t looked_at = 0;
  for (const Leaf& leaf : leaves_) {
    for (unsigned i = 0; i < kWords; ++i)
      if (const uint64_t word = word_at(leaf.bits, i); word != 0)
        check_word(leaf, i, word, scratch, findings, looked_at);
    if (looked_at > limits_.max_blocks) {
      findings.note("tree.unchecked", leaf.page, "blocks after the first {} are counted but not checked", looked_at);
      break;
    }
  }
  for (PhysAddr address : nodes()) {
    if (auto block = block_at(Pfn::containing(address)))
      findings.error("tree.node-preserved", address,
                     "a node of the tree lies in the preserved block of order {} at {}: who restores that overwrites it",
                     block->order, block->pfn.address());
    for (const mm::MemRange& area : scratch)
      if (area.base <= address && address < area.end())
        findings.error("tree.node-in-scratch", address,
                       "a node of the tree lies in scratch at {}: the next kernel's boot memory overwrites it", area.base);
  }
}

void Tree::for_each_block(const std::function<bool(const Block&)>& visit) const {
  for (const Leaf& leaf : leaves_) {
    for (unsigned i = 0; i < kWords; ++i) {
      for (uint64_t word = word_at(leaf.bits, i); word != 0; word &= word - 1) {
        const uint64_t key = leaf.prefix << abi::kBitmapLog2 | i * 64 | static_cast<unsigned>(std::countr_zero(word));
        const auto block = kho::decode_key(key, format_);
        if (block.has_value() && is_countable(*block) && !visit(*block)) return;
      }
    }
  }
}

std::vector<PhysAddr> Tree::nodes() const {
  std::vector<PhysAddr> pages;
  pages.reserve(nodes_.size());
  for (const auto& node : nodes_) pages.push_back(PhysAddr(node.first));
  std::sort(pages.begin(), pages.end());
  return pages;
}

}  // namespace causeway::inspect
