// The outgoing side of KHO: the tree of preserved blocks, and the rules that keep the next kernel able
// to read it. Private to this room.
//
//   auto outgoing = CW_TRY(Outgoing::create(nodes, {.format = Format::kV4, ...}));
//   CW_TRY(outgoing->add(block));
//   outgoing->remove(block);
//
// A reader refuses an image with a block outside RAM, in scratch or overlapping another; so that one
// owner's mistake does not cost everybody the handover, such a block is refused here. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "kho/coverage.h"
#include "kho/key.h"
#include "kho/radix_tree.h"
#include "mm/boot_memory.h"

namespace causeway::kho {

class Outgoing {
 public:
  struct Params {
    Format format = Format::kV4;
    uint64_t end_pfn = 0;           // frames that exist lie below
    std::vector<mm::MemRange> ram;  // boot RAM, which does not go away; ascending
    std::vector<mm::MemRange> scratch;
    std::function<bool(Pfn)> is_hot_added;  // for frames outside `ram`
    bool verbose = true;                    // a refused block is named in a warning
  };
  // ENOMEM.
  static Result<std::unique_ptr<Outgoing>> create(NodeSource& nodes, Params params);

  // Already there: success. EINVAL: misaligned, not RAM, in scratch; EBUSY: overlaps a preserved block of
  // another order or type; ENOMEM.
  Status add(const Block& block);
  // All or nothing under one acquisition of the mutex.
  Status add_all(std::span<const Block> blocks);
  // By frame and order, whatever the recorded type. False, with a warning if nothing near it was ever
  // preserved: it was not there.
  bool remove(const Block& block);
  bool contains(const Block& block) const;  // by frame, order and type
  bool overlaps(PfnRange range) const;      // any preserved block

  // Removes and adds in one step as a reader of the memory sees it: see RadixTree::Writer::replace().
  // `removed` are there, `added` are not, and they may cover the same frames.
  Status replace(std::span<const Block> removed, std::span<const Block> added,
                 const std::function<Status(PhysAddr root)>& publish);

  PhysAddr root() const { return tree_->root(); }
  Format format() const { return params_.format; }
  void destroy() { tree_->destroy(); }

  struct Stats {
    uint64_t blocks = 0;
    uint64_t pages = 0;
    uint64_t nodes = 0;
  };
  Stats stats() const;

 private:
  Outgoing(std::unique_ptr<RadixTree> tree, Coverage coverage, Params params);
  // These four with the tree's mutex held, by way of a Writer.
  Result<bool> add_locked(RadixTree::Writer& writer, const Block& block);
  bool remove_locked(RadixTree::Writer& writer, const Block& block);
  Status check_place(const Block& block);
  Status check_place_slowly(const Block& block);
  tl::unexpected<Error> refuse(const Block& block, int code, const char* reason) const;

  std::unique_ptr<RadixTree> tree_;
  const Params params_;
  std::vector<PfnRange> allowed_;  // boot RAM without scratch, ascending
  // The rest is guarded by the tree's mutex.
  Coverage coverage_;
  PfnRange window_{};  // the part of allowed_ that the last block was in
  uint64_t pages_ = 0;
};

}  // namespace causeway::kho
