// Reading a handover out of memory one does not trust: the incoming side of a boot, and later the
// inspector. Every address, length, order and link is checked before it is followed.
//
//   Image image = CW_TRY(Image::read(memory, handover));
//   for (const Block& block : image.blocks()) reserve(block);
//
// A damaged image is an error with a logged reason and never a crash; the rules are:
//   - FDT: page aligned, header and structure valid, at most one page, compatible known, memory map present,
//     8 bytes, page aligned, not 0;
//   - every node page aligned, in RAM, visited once (a cycle or a shared node is an error);
//   - every key decodes; blocks lie in RAM and do not overlap each other, a node page or scratch;
//   - scratch areas: page aligned, in RAM, at least one, at most kMaxScratch, not overlapping; their array
//     lies inside one of them, the FDT and the nodes in none.
// What is behind a subtree is its owner's business; that it is preserved memory is checked in subtree().
//
// Costs about the number of keys; memory is bounded by the RAM the image can name: 16 bytes a block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "kho/key.h"
#include "mm/boot_memory.h"
#include "platform/mailbox.h"

namespace causeway::kho {

inline constexpr unsigned kMaxScratch = 64;

// Physical memory as the reader sees it: live RAM, or a file.
class PhysReader {
 public:
  virtual ~PhysReader() = default;
  // `size` bytes at `address`, or null if they are not all RAM. The pointer is valid as long as the
  // reader. Any address and size may be asked for, sums that wrap included.
  virtual const std::byte* at(PhysAddr address, uint64_t size) const = 0;
  // Whether they are RAM, for memory that is only named and not read: a dump may leave it out.
  virtual bool is_ram(PhysAddr address, uint64_t size) const { return at(address, size) != nullptr; }
};

struct Subtree {
  std::string name;
  PhysAddr phys;
  uint64_t size = 0;  // bytes
};

class Image {
 public:
  // EINVAL: a rule is broken; EPROTO: a compatible string that this reader does not know.
  static Result<Image> read(const PhysReader& memory, const platform::Handover& handover);

  Format format() const { return format_; }
  const std::vector<Block>& blocks() const { return blocks_; }      // ascending by address
  const std::vector<PhysAddr>& nodes() const { return nodes_; }     // pages of the tree, ascending
  const std::vector<mm::MemRange>& scratch() const { return scratch_; }
  // The well-formed ones: both properties present and of 8 bytes.
  const std::vector<Subtree>& subtrees() const { return subtrees_; }
  // ENOENT: no such node; EINVAL: bad properties, or the blob is not wholly preserved memory.
  Result<Subtree> subtree(std::string_view name) const;
  PhysAddr fdt() const { return fdt_; }
  const std::vector<std::byte>& fdt_bytes() const { return fdt_bytes_; }  // a copy

  // The block that contains `pfn`, or null.
  const Block* block_at(Pfn pfn) const;
  // Whether every byte of the range is preserved. An empty range is not.
  bool is_preserved(PhysAddr phys, uint64_t size) const;

 private:
  Image() = default;
  Status read_fdt(const PhysReader& memory, const platform::Handover& handover);
  Status read_scratch(const PhysReader& memory, const platform::Handover& handover);
  Status read_tree(const PhysReader& memory);
  Status check_overlaps() const;

  Format format_ = Format::kV4;
  PhysAddr tree_root_;
  std::vector<Block> blocks_;
  std::vector<PhysAddr> nodes_;
  std::vector<mm::MemRange> scratch_;
  std::vector<Subtree> subtrees_;
  PhysAddr fdt_;
  std::vector<std::byte> fdt_bytes_;
};

}  // namespace causeway::kho
