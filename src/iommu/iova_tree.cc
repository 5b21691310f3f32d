#include "iommu/iova_tree.h"

#include <cassert>

namespace causeway::iommu {

IovaRange* IovaTree::take_node() {
  if (spare_ == nullptr) {
    chunks_.push_back(std::make_unique<std::array<IovaRange, kChunk>>());
    for (IovaRange& node : *chunks_.back()) {
      node.left = spare_;
      spare_ = &node;
    }
  }
  IovaRange* node = spare_;
  spare_ = node->left;
  return node;
}

uint32_t IovaTree::next_priority() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>(random_ >> 32);
}

IovaRange* IovaTree::at_or_below(uint64_t pfn) const {
  IovaRange* best = nullptr;
  for (IovaRange* at = root_; at != nullptr;) {
    if (at->first <= pfn) {
      best = at;
      at = at->right;
    } else {
      at = at->left;
    }
  }
  return best;
}

IovaRange* IovaTree::find(uint64_t pfn) const {
  IovaRange* range = at_or_below(pfn);
  return range != nullptr && range->last >= pfn ? range : nullptr;
}

IovaRange* IovaTree::insert(uint64_t first, uint64_t last, bool reserved) {
  IovaRange* node = take_node();
  *node = {.first = first, .last = last, .priority = next_priority(), .reserved = reserved};

  // Down to where the node's priority belongs; the neighbours are the last turns of a whole descent.
  IovaRange** link = &root_;
  IovaRange* below = nullptr;
  IovaRange* above = nullptr;
  while (*link != nullptr && (*link)->priority >= node->priority) {
    IovaRange* at = *link;
    assert(at->first > last || at->last < first);
    if (at->first < first) {
      below = at;
      link = &at->right;
    } else {
      above = at;
      link = &at->left;
    }
  }
  // What was there is cut into what lies below and above the node.
  IovaRange* rest = *link;
  IovaRange** lower = &node->left;
  IovaRange** upper = &node->right;
  *link = node;
  while (rest != nullptr) {
    if (rest->first < first) {
      below = rest;
      *lower = rest;
      lower = &rest->right;
      rest = rest->right;
    } else {
      above = rest;
      *upper = rest;
      upper = &rest->left;
      rest = rest->left;
    }
  }
  *lower = nullptr;
  *upper = nullptr;

  node->below = below;
  node->above = above;
  if (below != nullptr) below->above = node;
  if (above != nullptr)
    above->below = node;
  else
    highest_ = node;
  ++size_;
  return node;
}

void IovaTree::erase(IovaRange* range) {
  IovaRange** link = &root_;
  while (*link != range) link = (*link)->first < range->first ? &(*link)->right : &(*link)->left;

  // The two subtrees become one: the higher priority goes on top.
  IovaRange* left = range->left;
  IovaRange* right = range->right;
  while (left != nullptr && right != nullptr) {
    if (left->priority >= right->priority) {
      *link = left;
      link = &left->right;
      left = left->right;
    } else {
      *link = right;
      link = &right->left;
      right = right->left;
    }
  }
  *link = left != nullptr ? left : right;

  if (range->below != nullptr) range->below->above = range->above;
  if (range->above != nullptr)
    range->above->below = range->below;
  else
    highest_ = range->below;
  --size_;
  range->left = spare_;
  spare_ = range;
}

}  // namespace causeway::iommu
