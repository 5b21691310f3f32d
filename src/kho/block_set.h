// Arrays of fixed-size entries in a chain of preserved pages (kho_block): what a subsystem hands over
// when it does not know beforehand how much there will be.
//
//   BlockSet set = CW_TRY(BlockSet::create(kho, sizeof(Entry)));   // old kernel
//   CW_TRY(set.grow(n));
//   for (...) *set.reserve<Entry>() = entry;
//   state->entries = set.head().value();
//
//   BlockSet in = CW_TRY(BlockSet::restore(kho, PhysAddr(state->entries), sizeof(Entry)));  // new kernel
//   while (const Entry* entry = in.read<Entry>()) ...
//   in.destroy();
//
// At any instant the chain from head() is one that the next kernel accepts: a block joins it with its
// first entry. So head() is 0 until something has been written; store it after that.
//
// The caller serialises. A damaged chain (cycle, count 0 or above capacity, block not preserved or not
// RAM) is EINVAL, more than 10,000 blocks ENOSPC. Its blocks are leaked for this boot: what is damaged may name
// another owner's page, and freeing that would hand out memory that is in use. (Linux 7.3 frees them.)
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "kho/kho.h"

namespace causeway::kho {

class BlockSet {
 public:
  static Result<BlockSet> create(Kho& kho, uint64_t entry_size);  // EINVAL: an entry does not fit a block
  static Result<BlockSet> restore(Kho& kho, PhysAddr head, uint64_t entry_size);
  BlockSet(BlockSet&&) noexcept;
  BlockSet& operator=(BlockSet&&) noexcept;
  ~BlockSet();  // forgets; destroy() frees

  // Whole blocks until `entries` fit. ENOMEM, ENOSPC: as before; EINVAL on an incoming set.
  Status grow(uint64_t entries);
  // Drops tail blocks that `entries` do not need, and the entries beyond `entries`.
  void shrink(uint64_t entries);
  // Zero counts and payloads.
  void clear();
  // Next entry to write, zeroed and counted; null when full, and on an incoming set.
  void* reserve_entry();
  // Next entry to read; null at the end. rewind() starts over.
  const void* read_entry();
  void rewind();
  // Entry by index, of either kind of set; null beyond the end.
  void* at(uint64_t index);
  uint64_t size() const;      // entries counted
  uint64_t capacity() const;
  PhysAddr head() const;      // 0: no entries
  // Frees the blocks: unpreserved (outgoing) or restored (incoming) first.
  void destroy();

  template <typename T>
  T* reserve() {
    return static_cast<T*>(reserve_entry());
  }
  template <typename T>
  const T* read() {
    return static_cast<const T*>(read_entry());
  }

 private:
  BlockSet(Kho& kho, uint64_t entry_size, bool incoming);
  Status adopt(PhysAddr head);
  Result<abi::BlockHeader*> make_block();
  void set_written(uint64_t entries);

  Kho* kho_;
  uint64_t entry_size_;
  bool incoming_;
  std::vector<abi::BlockHeader*> blocks_;
  std::vector<uint64_t> ends_;  // of an incoming set: entries up to and with block i
  uint64_t written_ = 0;
  uint64_t read_position_ = 0;
};

}  // namespace causeway::kho
