// The ranges of an address space that are taken: a balanced tree, threaded in order. Private to the room.
//
//   IovaRange* range = tree.insert(first, last);       // disjoint from all others
//   IovaRange* hit = tree.find(pfn);                   // the range it lies in
//   tree.erase(hit);
//
// A treap: a node's random priority is above its children's, so depth is logarithmic whatever the order of insertion. The
// thread makes the neighbours, which an allocator looks at most, one load away. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace causeway::iommu {

struct IovaRange {
  uint64_t first;  // pfns, inclusive
  uint64_t last;
  IovaRange* below;  // the neighbour with lower addresses, or null
  IovaRange* above;
  IovaRange* left;
  IovaRange* right;
  uint32_t priority;
  bool reserved;
};

class IovaTree {
 public:
  IovaTree() = default;
  IovaTree(const IovaTree&) = delete;
  IovaTree& operator=(const IovaTree&) = delete;

  IovaRange* insert(uint64_t first, uint64_t last, bool reserved);
  void erase(IovaRange* range);
  // The range that holds `pfn`, or null.
  IovaRange* find(uint64_t pfn) const;
  // The range with the highest addresses of those that begin at or below `pfn`, or null.
  IovaRange* at_or_below(uint64_t pfn) const;
  IovaRange* highest() const { return highest_; }
  uint64_t size() const { return size_; }

 private:
  static constexpr size_t kChunk = 64;
  IovaRange* take_node();
  uint32_t next_priority();

  IovaRange* root_ = nullptr;
  IovaRange* highest_ = nullptr;
  IovaRange* spare_ = nullptr;  // unused nodes, linked by `left`
  uint64_t size_ = 0;
  uint64_t random_ = 0x9e3779b97f4a7c15;
  std::vector<std::unique_ptr<std::array<IovaRange, kChunk>>> chunks_;
};

}  // namespace causeway::iommu
