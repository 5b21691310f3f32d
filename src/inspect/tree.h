// The radix tree of an untrusted image: walked once, going on after damage, then asked which block is where.
//
//   Tree tree(memory, kho::Format::kV4, limits);
//   tree.read(root, findings);          // counts by order
//   tree.check_blocks(scratch, findings);
//   if (auto block = tree.block_at(pfn)) ...
//
// No list of blocks is made: a lookup probes the tree, once per order that occurs. Memory is about 64 bytes
// a node, at most Limits::max_nodes of them, whatever the number of blocks. A node is read once, wherever it is
// linked: what a second link leads to is a finding and not counted again, so a cycle ends and time follows the nodes.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "inspect/finding.h"
#include "inspect/memory.h"
#include "kho/abi/kho_v4.h"
#include "kho/key.h"

namespace causeway::inspect {

inline constexpr unsigned kOrders = kho::abi::kKeyBits;

class Tree {
 public:
  struct Limits {
    uint64_t max_nodes = uint64_t{1} << 20;   // covers 128 TiB in blocks of order 0
    uint64_t max_blocks = uint64_t{1} << 26;  // looked at one by one; counting has no limit
  };
  struct Stats {
    uint64_t nodes = 0;  // pages, leaves included
    uint64_t leaves = 0;
    uint64_t blocks = 0;
    uint64_t bytes = 0;  // saturates
    std::array<uint64_t, kOrders> by_order{};
    uint64_t split = 0;  // of the typed format
  };

  Tree(const Memory& memory, kho::Format format, Limits limits)
      : memory_(memory), format_(format), limits_(limits) {}
  Tree(const Tree&) = delete;

  // Findings: every node page aligned, with contents, reached once; every key decodes.
  void read(PhysAddr root, Findings& findings);
  // Findings: every block in RAM (if that is known), outside scratch, overlapping no other block and no node.
  void check_blocks(std::span<const mm::MemRange> scratch, Findings& findings) const;

  const Stats& stats() const { return stats_; }
  // The block that contains `pfn`; where blocks overlap, the smallest.
  std::optional<kho::Block> block_at(Pfn pfn) const;
  // Every byte of the range is in some block. An empty range is not.
  bool is_preserved(PhysAddr phys, uint64_t size) const;
  bool is_node(PhysAddr page) const { return nodes_.contains(page.value()); }
  // Ascending by key: larger orders first. False from `visit` stops.
  void for_each_block(const std::function<bool(const kho::Block&)>& visit) const;
  std::vector<PhysAddr> nodes() const;  // ascending

 private:
  struct Leaf {
    uint64_t prefix;  // of its keys
    PhysAddr page;
    const std::byte* bits;
  };
  void read_node(PhysAddr page, unsigned level, uint64_t prefix, PhysAddr parent, Findings& findings);
  void count_leaf(const Leaf& leaf, Findings& findings);
  const std::byte* leaf_of(uint64_t key) const;
  bool contains(uint64_t key) const;
  bool holds(Pfn pfn, unsigned order, kho::PageType type) const;
  std::optional<kho::Block> larger_block_over(const kho::Block& block) const;
  void check_word(const Leaf& leaf, unsigned index, uint64_t word, std::span<const mm::MemRange> scratch,
                  Findings& findings, uint64_t& looked_at) const;
  void check_block(const kho::Block& block, PhysAddr leaf, std::span<const mm::MemRange> scratch,
                   Findings& findings) const;

  const Memory& memory_;
  const kho::Format format_;
  const Limits limits_;
  Stats stats_;
  PhysAddr root_;
  // Page -> where it is linked: prefix and level.
  std::unordered_map<uint64_t, uint64_t> nodes_;
  std::vector<Leaf> leaves_;  // ascending by prefix
  std::array<uint64_t, 2> present_{};  // orders that occur, by type
  bool full_ = false;
  struct Cached {
    uint64_t prefix = ~uint64_t{0};
    const std::byte* bits = nullptr;
  };
  mutable std::array<std::array<Cached, kOrders>, 2> cache_;
};

}  // namespace causeway::inspect
