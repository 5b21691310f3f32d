// Reads a radix tree out of untrusted memory. Private to this room.
//
//   TreeReader reader(memory, Format::kV4);
//   CW_TRY(reader.read(root));            // EINVAL; reader.reason() says where
//   use(reader.take_blocks(), reader.take_nodes());
//
// Every node is visited at most once and every block must be RAM, so time and memory are bounded by the
// RAM there is, whatever the pages hold.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "kho/image.h"
#include "kho/key.h"

namespace causeway::kho {

class TreeReader {
 public:
  TreeReader(const PhysReader& memory, Format format) : memory_(memory), format_(format) {}

  Status read(PhysAddr root);
  const std::string& reason() const { return reason_; }
  std::vector<Block> take_blocks() { return std::move(blocks_); }   // ascending by address
  std::vector<PhysAddr> take_nodes() { return std::move(nodes_); }  // ascending

 private:
  Status read_node(PhysAddr page, unsigned level, uint64_t prefix);
  Status read_leaf(const std::byte* bitmap, PhysAddr page, uint64_t prefix);
  void sort_blocks();

  const PhysReader& memory_;
  const Format format_;
  std::vector<Block> blocks_;
  // Where a new order or type begins in blocks_: within such a run addresses ascend already.
  std::vector<size_t> runs_;
  std::vector<PhysAddr> nodes_;
  std::unordered_set<uint64_t> seen_;
  std::string reason_;
};

}  // namespace causeway::kho
