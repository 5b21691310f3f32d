#include "kho/image_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kho/abi/kho_v4.h"

namespace causeway::kho {
namespace {

// Read once, and from any alignment: the page may lie in a mapped file.
uint64_t word_at(const std::byte* page, unsigned index) {
  uint64_t word;
  std::memcpy(&word, page + index * sizeof word, sizeof word);
  return word;
}

}  // namespace

Status TreeReader::read(PhysAddr root) {
  CW_TRY(read_node(root, abi::kTreeDepth - 1, 0));
  std::sort(nodes_.begin(), nodes_.end());
  sort_blocks();
  return {};
}

Status TreeReader::read_node(PhysAddr page, unsigned level, uint64_t prefix) {
  if (!page.is_aligned(kPageSize)) {
    reason_ = fmt::format("level {} node at {}", level, page);
    return fail(EINVAL, "tree: node not page aligned");
  }
  const std::byte* bytes = memory_.at(page, kPageSize);
  if (bytes == nullptr) {
    reason_ = fmt::format("level {} node at {}", level, page);
    return fail(EINVAL, "tree: node not in RAM");
  }
  if (!seen_.insert(page.value()).second) {
    reason_ = fmt::format("level {} node at {}", level, page);
    return fail(EINVAL, "tree: node reached twice, a cycle or a shared node");
  }
  nodes_.push_back(page);
  if (level == 0) return read_leaf(bytes, page, prefix);
  for (unsigned i = 0; i < abi::kTableEntries; ++i) {
    if (const uint64_t child = word_at(bytes, i); child != 0)
      CW_TRY(read_node(PhysAddr(child), level - 1, prefix << abi::kTableLog2 | i));
  }
  return {};
}

Status TreeReader::read_leaf(const std::byte* bitmap, PhysAddr page, uint64_t prefix) {
  for (unsigned i = 0; i < abi::kLeafBits / 64; ++i) {
    for (uint64_t word = word_at(bitmap, i); word != 0; word &= word - 1) {
      const uint64_t key =
          prefix << abi::kBitmapLog2 | i * 64 | static_cast<unsigned>(std::countr_zero(word));
      auto block = decode_key(key, format_);
      if (!block.has_value()) {
        reason_ = fmt::format("key {:#x} in the leaf at {}: {}", key, page, block.error().message);
        return fail(EINVAL, "tree: key does not decode");
      }
      // The largest order has more bytes than 64 bits can count.
      if (block->order.value() >= 64 - kPageShift ||
          !memory_.is_ram(block->pfn.address(), block->order.bytes())) {
        reason_ = fmt::format("order {} at {}, in the leaf at {}", block->order, block->pfn.address(), page);
        return fail(EINVAL, "tree: block not in RAM");
      }
      if (blocks_.empty() || blocks_.back().order != block->order || blocks_.back().type != block->type)
        runs_.push_back(blocks_.size());
      blocks_.push_back(*block);
    }
  }
  return {};
}

// Merges the runs pairwise: linear when, as usual, nearly all blocks are of one order.
void TreeReader::sort_blocks() {
  auto before = [](const Block& a, const Block& b) { return a.pfn < b.pfn; };
  runs_.push_back(blocks_.size());
  while (runs_.size() > 2) {
    std::vector<size_t> merged;
    for (size_t i = 0; i + 1 < runs_.size(); i += 2) {
      merged.push_back(runs_[i]);
      if (i + 2 < runs_.size()) {
        std::inplace_merge(blocks_.begin() + static_cast<ptrdiff_t>(runs_[i]),
                           blocks_.begin() + static_cast<ptrdiff_t>(runs_[i + 1]),
                           blocks_.begin() + static_cast<ptrdiff_t>(runs_[i + 2]), before);
      }
    }
    merged.push_back(runs_.back());
    runs_ = std::move(merged);
  }
}

}  // namespace causeway::kho
