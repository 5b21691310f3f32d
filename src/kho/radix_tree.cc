#include "kho/radix_tree.h"

#include <bit>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "base/log.h"
#include "base/point.h"

namespace causeway::kho {
namespace {

constexpr unsigned kRootLevel = abi::kTreeDepth - 1;

// Where a key is found in a node of `level` (5..1).
unsigned index_at(uint64_t key, unsigned level) {
  return static_cast<unsigned>(key >> (abi::kBitmapLog2 + (level - 1) * abi::kTableLog2)) %
         abi::kTableEntries;
}

// The next kernel, and nobody else in this one, may read these words at any instant.
uint64_t load(uint64_t& word) {
  return std::atomic_ref(word).load(std::memory_order_relaxed);
}
void store(uint64_t& word, uint64_t value) {
  std::atomic_ref(word).store(value, std::memory_order_release);
}

Status walk_node(const NodeSource& source, PhysAddr page, unsigned level, uint64_t prefix,
                 const std::function<Status(uint64_t)>& on_key,
                 const std::function<Status(PhysAddr)>& on_node) {
  if (on_node) CW_TRY(on_node(page));
  if (level == 0) {
    auto* leaf = reinterpret_cast<abi::RadixLeaf*>(source.to_virt(page));
    for (unsigned i = 0; i < abi::kLeafBits / 64; ++i) {
      for (uint64_t word = load(leaf->bitmap[i]); word != 0; word &= word - 1)
        CW_TRY(on_key(prefix << abi::kBitmapLog2 | i * 64 | static_cast<unsigned>(std::countr_zero(word))));
    }
    return {};
  }
  auto* node = reinterpret_cast<abi::RadixNode*>(source.to_virt(page));
  for (unsigned i = 0; i < abi::kTableEntries; ++i) {
    if (const uint64_t child = load(node->child[i]); child != 0)
      CW_TRY(walk_node(source, PhysAddr(child), level - 1, prefix << abi::kTableLog2 | i, on_key, on_node));
  }
  return {};
}

void collect_nodes(const NodeSource& source, PhysAddr page, unsigned level, std::vector<PhysAddr>& nodes) {
  nodes.push_back(page);
  if (level == 0) return;
  auto* node = reinterpret_cast<abi::RadixNode*>(source.to_virt(page));
  for (uint64_t& child : node->child)
    if (child != 0) collect_nodes(source, PhysAddr(child), level - 1, nodes);
}

// For alloc_node() to be failable: the point returns its error from the function it stands in.
Result<PhysAddr> alloc_node(NodeSource& source) {
  CW_FAIL_POINT("kho.radix.alloc_node");
  return source.alloc_zeroed_page();
}

}  // namespace

Result<std::unique_ptr<RadixTree>> RadixTree::create(NodeSource& source, Format format) {
  const PhysAddr root = CW_TRY(alloc_node(source));
  return std::unique_ptr<RadixTree>(new RadixTree(source, format, root));
}

void RadixTree::destroy() {
  sync::MutexLock lock(mutex_);
  if (root_ == PhysAddr(0)) return;
  std::vector<PhysAddr> pages;
  collect_nodes(source_, root_, kRootLevel, pages);
  root_ = PhysAddr(0);
  leaf_cache_.fill({});
  size_ = nodes_ = 0;
  for (PhysAddr page : pages) source_.free_page(page);
}

PhysAddr RadixTree::root() const {
  sync::MutexLock lock(mutex_);
  return root_;
}

abi::RadixLeaf* RadixTree::find_leaf(uint64_t key) const {
  if (abi::RadixLeaf* leaf = cached_leaf(key)) return leaf;
  if (root_ == PhysAddr(0) || !key_fits(key, format_)) return nullptr;
  PhysAddr page = root_;
  for (unsigned level = kRootLevel; level > 0; --level) {
    page = PhysAddr(load(node_at(page)->child[index_at(key, level)]));
    if (page == PhysAddr(0)) return nullptr;
  }
  auto* leaf = reinterpret_cast<abi::RadixLeaf*>(source_.to_virt(page));
  remember(key, leaf);
  return leaf;
}

void RadixTree::remember(uint64_t key, abi::RadixLeaf* leaf) const {
  const uint64_t prefix = key >> abi::kBitmapLog2;
  leaf_cache_[prefix % kCachedLeaves] = {prefix, leaf};
}

// The slow half of add(): makes what is missing of the path, complete and with the bit set, and only
// then links it with one store. So a kernel that dies in between leaves the tree as it was.
Result<bool> RadixTree::add_path(uint64_t key) {
  if (root_ == PhysAddr(0)) return fail(EINVAL, "the tree has no root");
  if (!key_fits(key, format_)) return fail(ERANGE, "key wider than the format has");
  abi::RadixNode* parent = node_at(root_);
  unsigned level = kRootLevel;
  while (level > 0) {
    const uint64_t child = load(parent->child[index_at(key, level)]);
    if (child == 0) break;
    parent = node_at(PhysAddr(child));
    --level;
  }
  if (level == 0) {
    auto* leaf = reinterpret_cast<abi::RadixLeaf*>(parent);
    remember(key, leaf);
    return set(leaf, key);
  }

  PhysAddr made[kRootLevel];  // made[l] is of level l; allocated downwards, as the kernel does
  for (unsigned l = level; l-- > 0;) {
    auto page = alloc_node(source_);
    if (!page.has_value()) {
      while (++l < level) source_.free_page(made[l]);
      return fail(page.error());
    }
    made[l] = *page;
    if (l + 1 < level) store(node_at(made[l + 1])->child[index_at(key, l + 1)], page->value());
  }
  auto* leaf = reinterpret_cast<abi::RadixLeaf*>(source_.to_virt(made[0]));
  set(leaf, key);
  CW_POINT("kho.radix.before_link");
  store(parent->child[index_at(key, level)], made[level - 1].value());
  nodes_ += level;
  remember(key, leaf);
  CW_POINT("kho.radix.after_node");
  return true;
}

bool RadixTree::remove_locked(uint64_t key, bool warn_without_path) {
  abi::RadixLeaf* leaf = find_leaf(key);
  if (leaf == nullptr) {
    if (warn_without_path) log::warn("kho", "removing key {:#x}, which has no path in the tree", key);
    return false;
  }
  const uint64_t bit = key % abi::kLeafBits;
  const uint64_t mask = uint64_t{1} << bit % 64;
  const uint64_t old = load(leaf->bitmap[bit / 64]);
  if ((old & mask) == 0) return false;
  store(leaf->bitmap[bit / 64], old & ~mask);
  --size_;
  return true;
}

bool RadixTree::contains_locked(uint64_t key) const {
  abi::RadixLeaf* leaf = find_leaf(key);
  if (leaf == nullptr) return false;
  const uint64_t bit = key % abi::kLeafBits;
  return (load(leaf->bitmap[bit / 64]) >> bit % 64 & 1) != 0;
}

Status RadixTree::replace_locked(std::span<const uint64_t> removed, std::span<const uint64_t> added,
                                 const std::function<Status(PhysAddr)>& publish) {
  if (root_ == PhysAddr(0)) return fail(EINVAL, "the tree has no root");
  for (uint64_t key : added)
    if (!key_fits(key, format_)) return fail(ERANGE, "key wider than the format has");

  std::unordered_set<uint64_t> fresh;  // pages of the second tree alone
  std::vector<PhysAddr> replaced;
  // A page of the second tree for `old`; 0 asks for an empty one.
  auto own = [&](uint64_t old) -> Result<uint64_t> {
    if (fresh.contains(old)) return old;
    const PhysAddr page = CW_TRY(alloc_node(source_));
    fresh.insert(page.value());
    if (old != 0) {
      std::memcpy(source_.to_virt(page), source_.to_virt(PhysAddr(old)), kPageSize);
      replaced.push_back(PhysAddr(old));
    }
    return page.value();
  };
  uint64_t root = 0;
  auto own_leaf = [&](uint64_t key) -> Result<abi::RadixLeaf*> {
    abi::RadixNode* node = node_at(PhysAddr(root));
    for (unsigned level = kRootLevel; level > 0; --level) {
      uint64_t& child = node->child[index_at(key, level)];
      store(child, CW_TRY(own(child)));
      node = node_at(PhysAddr(child));
    }
    return reinterpret_cast<abi::RadixLeaf*>(node);
  };
  int64_t keys = 0;
  auto build = [&]() CW_NO_THREAD_SAFETY_ANALYSIS -> Status {  // runs below, under the same mutex
    root = CW_TRY(own(root_.value()));
    for (uint64_t key : removed) {
      if (find_leaf(key) == nullptr) continue;
      uint64_t& word = CW_TRY(own_leaf(key))->bitmap[key % abi::kLeafBits / 64];
      const uint64_t mask = uint64_t{1} << key % 64;
      keys -= (word & mask) != 0;
      store(word, word & ~mask);
    }
    for (uint64_t key : added) {
      uint64_t& word = CW_TRY(own_leaf(key))->bitmap[key % abi::kLeafBits / 64];
      const uint64_t mask = uint64_t{1} << key % 64;
      keys += (word & mask) == 0;
      store(word, word | mask);
    }
    CW_POINT("kho.radix.before_replace");
    return publish(PhysAddr(root));
  };
  if (Status built = build(); !built.has_value()) {
    for (uint64_t page : fresh) source_.free_page(PhysAddr(page));
    return built;
  }
  root_ = PhysAddr(root);
  size_ += static_cast<uint64_t>(keys);
  nodes_ += fresh.size() - replaced.size();
  leaf_cache_.fill({});
  CW_POINT("kho.radix.after_replace");
  for (PhysAddr page : replaced) source_.free_page(page);
  return {};
}

Status RadixTree::add(uint64_t key) {
  Writer writer(*this);
  CW_TRY(writer.add(key));
  return {};
}

Status RadixTree::add_all(std::span<const uint64_t> keys) {
  Writer writer(*this);
  std::vector<uint64_t> done;
  done.reserve(keys.size());
  for (uint64_t key : keys) {
    auto was_new = writer.add(key);
    if (!was_new.has_value()) {
      for (uint64_t added : done) writer.remove(added);
      return fail(was_new.error());
    }
    if (*was_new) done.push_back(key);
  }
  return {};
}

bool RadixTree::remove(uint64_t key) {
  sync::MutexLock lock(mutex_);
  return remove_locked(key, true);
}

bool RadixTree::contains(uint64_t key) const {
  sync::MutexLock lock(mutex_);
  return contains_locked(key);
}

Status RadixTree::walk(const std::function<Status(uint64_t)>& on_key,
                       const std::function<Status(PhysAddr)>& on_node) const {
  sync::MutexLock lock(mutex_);
  if (root_ == PhysAddr(0)) return fail(EINVAL, "the tree has no root");
  return walk_node(source_, root_, kRootLevel, 0, on_key, on_node);
}

uint64_t RadixTree::size() const {
  sync::MutexLock lock(mutex_);
  return size_;
}

uint64_t RadixTree::nodes() const {
  sync::MutexLock lock(mutex_);
  return nodes_;
}

}  // namespace causeway::kho
