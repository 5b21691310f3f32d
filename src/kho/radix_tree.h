// The radix tree of preserved memory: a set of integers in pages of RAM, readable by the next kernel.
//
//   auto tree = CW_TRY(RadixTree::create(pages, Format::kV4));
//   CW_TRY(tree->add(key));
//   tree->walk([](uint64_t key) { ...; return Status{}; });
//
//   RadixTree::Writer writer(*tree);  // many operations under one acquisition of the mutex
//   for (uint64_t key : keys) CW_TRY(writer.add(key));
//
// Layout in abi/kho_v4.h. Six levels; nodes are made on demand and never freed by a removal (the
// kernel's behaviour), only by destroy. The next kernel may read the tree at any instant, so every
// change is one store: nodes are linked when they and what is below them are complete.
//
// Thread-safe: one mutex per tree, held throughout a walk, so a callback must not use the same tree.
// add() near a previous add() costs one bit operation (the last leaves are remembered).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "kho/abi/kho_v4.h"
#include "kho/key.h"
#include "sync/mutex.h"

namespace causeway::kho {

// Where the pages of a tree come from: the page allocator, or boot memory before there is one.
class NodeSource {
 public:
  virtual ~NodeSource() = default;
  virtual Result<PhysAddr> alloc_zeroed_page() = 0;
  virtual void free_page(PhysAddr page) = 0;
  virtual std::byte* to_virt(PhysAddr page) const = 0;
};

class RadixTree {
 public:
  class Writer;

  // An empty tree with a root of its own. `format` decides which keys are too wide. ENOMEM.
  static Result<std::unique_ptr<RadixTree>> create(NodeSource& source, Format format);
  // Forgets the tree; its pages live on (a kernel's death). destroy() frees them.
  ~RadixTree() = default;
  void destroy();

  PhysAddr root() const;
  // Idempotent. ERANGE: key wider than the format has; ENOMEM: nodes made for it are gone again;
  // EINVAL: destroyed.
  Status add(uint64_t key);
  // All or nothing: on an error the keys added by this call (not those already there) are removed.
  Status add_all(std::span<const uint64_t> keys);
  // Silent when the bit is clear, a warning when the path is missing. True if the key was there.
  bool remove(uint64_t key);
  bool contains(uint64_t key) const;
  // Ascending keys: larger orders first, then ascending addresses. The first error stops and is returned.
  Status walk(const std::function<Status(uint64_t key)>& on_key,
              const std::function<Status(PhysAddr node)>& on_node = {}) const;
  uint64_t size() const;   // keys
  uint64_t nodes() const;  // pages, leaves and root included

 private:
  static constexpr unsigned kCachedLeaves = 64;
  struct CachedLeaf {
    uint64_t prefix = ~uint64_t{0};
    abi::RadixLeaf* leaf = nullptr;
  };

  RadixTree(NodeSource& source, Format format, PhysAddr root)
      : source_(source), format_(format), root_(root) {}

  abi::RadixNode* node_at(PhysAddr page) const {
    return reinterpret_cast<abi::RadixNode*>(source_.to_virt(page));
  }
  abi::RadixLeaf* cached_leaf(uint64_t key) const CW_REQUIRES(mutex_) {
    const uint64_t prefix = key >> abi::kBitmapLog2;
    const CachedLeaf& entry = leaf_cache_[prefix % kCachedLeaves];
    return entry.prefix == prefix ? entry.leaf : nullptr;
  }
  abi::RadixLeaf* find_leaf(uint64_t key) const CW_REQUIRES(mutex_);
  void remember(uint64_t key, abi::RadixLeaf* leaf) const CW_REQUIRES(mutex_);
  // True: the bit was clear.
  bool set(abi::RadixLeaf* leaf, uint64_t key) CW_REQUIRES(mutex_);
  Result<bool> add_locked(uint64_t key) CW_REQUIRES(mutex_);
  Result<bool> add_path(uint64_t key) CW_REQUIRES(mutex_);
  bool remove_locked(uint64_t key, bool warn_without_path) CW_REQUIRES(mutex_);
  bool contains_locked(uint64_t key) const CW_REQUIRES(mutex_);
  Status replace_locked(std::span<const uint64_t> removed, std::span<const uint64_t> added,
                        const std::function<Status(PhysAddr root)>& publish) CW_REQUIRES(mutex_);

  NodeSource& source_;
  const Format format_;
  mutable sync::Mutex mutex_{"kho.radix_tree"};
  PhysAddr root_ CW_GUARDED_BY(mutex_);  // 0: destroyed
  uint64_t size_ CW_GUARDED_BY(mutex_) = 0;
  uint64_t nodes_ CW_GUARDED_BY(mutex_) = 1;
  mutable std::array<CachedLeaf, kCachedLeaves> leaf_cache_ CW_GUARDED_BY(mutex_);
};

// Holds the tree's mutex while it lives.
class CW_SCOPED_CAPABILITY RadixTree::Writer {
 public:
  explicit Writer(RadixTree& tree) CW_ACQUIRE(tree.mutex_) : tree_(tree) { tree_.mutex_.lock(); }
  ~Writer() CW_RELEASE() { tree_.mutex_.unlock(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // True: it was not there. Errors as RadixTree::add().
  Result<bool> add(uint64_t key) CW_NO_THREAD_SAFETY_ANALYSIS { return tree_.add_locked(key); }
  bool remove(uint64_t key) CW_NO_THREAD_SAFETY_ANALYSIS { return tree_.remove_locked(key, true); }
  // For a key that may never have been added: no warning about a missing path.
  bool remove_if_present(uint64_t key) CW_NO_THREAD_SAFETY_ANALYSIS {
    return tree_.remove_locked(key, false);
  }
  bool contains(uint64_t key) const CW_NO_THREAD_SAFETY_ANALYSIS { return tree_.contains_locked(key); }

  uint64_t size() const CW_NO_THREAD_SAFETY_ANALYSIS { return tree_.size_; }
  uint64_t nodes() const CW_NO_THREAD_SAFETY_ANALYSIS { return tree_.nodes_; }

  // Many keys for many others, in one step as seen by a reader of the memory: builds a second root that
  // shares the untouched nodes, calls `publish` with it, and frees what it replaces. An error of
  // `publish`, or ENOMEM, leaves the tree as it was.
  Status replace(std::span<const uint64_t> removed, std::span<const uint64_t> added,
                 const std::function<Status(PhysAddr root)>& publish) CW_NO_THREAD_SAFETY_ANALYSIS {
    return tree_.replace_locked(removed, added, publish);
  }

 private:
  RadixTree& tree_;
};

// In the header, because preserving is hot: once per page of every DMA buffer and guest.
inline bool RadixTree::set(abi::RadixLeaf* leaf, uint64_t key) {
  const uint64_t bit = key % abi::kLeafBits;
  std::atomic_ref<uint64_t> word(leaf->bitmap[bit / 64]);
  const uint64_t old = word.load(std::memory_order_relaxed);
  const uint64_t mask = uint64_t{1} << bit % 64;
  if ((old & mask) != 0) return false;
  word.store(old | mask, std::memory_order_release);
  ++size_;
  return true;
}

inline Result<bool> RadixTree::add_locked(uint64_t key) {
  if (abi::RadixLeaf* leaf = cached_leaf(key)) [[likely]] return set(leaf, key);
  return add_path(key);
}

}  // namespace causeway::kho
