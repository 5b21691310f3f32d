#include "kho/block_set.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/log.h"
#include "base/point.h"

namespace causeway::kho {
namespace {

std::byte* entry_of(abi::BlockHeader* block, uint64_t index, uint64_t entry_size) {
  return reinterpret_cast<std::byte*>(block) + sizeof(abi::BlockHeader) + index * entry_size;
}

// The next kernel may read these words at any instant.
void store(uint64_t& word, uint64_t value) {
  std::atomic_ref(word).store(value, std::memory_order_release);
}

}  // namespace

BlockSet::BlockSet(Kho& kho, uint64_t entry_size, bool incoming)
    : kho_(&kho), entry_size_(entry_size), incoming_(incoming) {}
BlockSet::BlockSet(BlockSet&&) noexcept = default;
BlockSet& BlockSet::operator=(BlockSet&&) noexcept = default;
BlockSet::~BlockSet() = default;

Result<BlockSet> BlockSet::create(Kho& kho, uint64_t entry_size) {
  if (entry_size == 0 || abi::block_capacity(entry_size) == 0)
    return fail(EINVAL, "an entry does not fit a block");
  return BlockSet(kho, entry_size, false);
}

Result<BlockSet> BlockSet::restore(Kho& kho, PhysAddr head, uint64_t entry_size) {
  if (entry_size == 0 || abi::block_capacity(entry_size) == 0)
    return fail(EINVAL, "an entry does not fit a block");
  BlockSet set(kho, entry_size, true);
  if (Status adopted = set.adopt(head); !adopted.has_value()) {
    log::warn("kho", "block set at {}: {}, after {} blocks, which stay reserved", head, adopted.error().message,
              set.blocks_.size());
    return fail(adopted.error());
  }
  return set;
}

Status BlockSet::adopt(PhysAddr head) {
  uint64_t total = 0;
  // The kernel's two-pointer walk, as one comparison: `mark` is a block seen before, and moves on at
  // powers of two.
  PhysAddr mark{0};
  uint64_t next_mark = 1;
  for (PhysAddr at = head; at != PhysAddr(0);) {
    if (at == mark) return fail(EINVAL, "the chain of blocks is a cycle");
    if (blocks_.size() == next_mark) {
      mark = at;
      next_mark *= 2;
    }
    if (blocks_.size() == abi::kMaxBlocks) return fail(ENOSPC, "more blocks than a set may have");
    if (kho_->preserved_order(at) != kOrder0) return fail(EINVAL, "a block is not a preserved page");
    auto* block = kho_->map().direct_map().to_virt<abi::BlockHeader>(at);
    blocks_.push_back(block);
    if (block->count == 0 || block->count > abi::block_capacity(entry_size_))
      return fail(EINVAL, "a block's count is 0 or above its capacity");
    ends_.push_back(total += block->count);
    at = PhysAddr(block->next);
  }
  written_ = total;
  return {};
}

Status BlockSet::grow(uint64_t entries) {
  if (incoming_) {
    log::warn("kho", "growing a block set of the previous kernel");
    return fail(EINVAL, "an incoming block set does not grow");
  }
  const uint64_t per_block = abi::block_capacity(entry_size_);
  const uint64_t wanted = entries / per_block + (entries % per_block != 0);
  if (wanted > abi::kMaxBlocks) return fail(ENOSPC, "more blocks than a set may have");
  const size_t before = blocks_.size();
  while (blocks_.size() < wanted) {
    auto made = make_block();
    if (!made.has_value()) {
      while (blocks_.size() > before) {
        kho_->unpreserve_free(blocks_.back());
        blocks_.pop_back();
      }
      return fail(made.error());
    }
    blocks_.push_back(*made);
  }
  return {};
}

Result<abi::BlockHeader*> BlockSet::make_block() {
  CW_FAIL_POINT("kho.blocks.grow");
  return static_cast<abi::BlockHeader*>(CW_TRY(kho_->alloc_preserve(abi::kBlockSize)));
}

// Only a block with an entry is part of the chain: the next kernel refuses an empty one. So a block is
// linked after it got its first entry, and unlinked before it loses it.
void BlockSet::set_written(uint64_t entries) {
  const uint64_t per_block = abi::block_capacity(entry_size_);
  const uint64_t used = entries / per_block + (entries % per_block != 0);
  if (used > 0 && used < blocks_.size()) store(blocks_[used - 1]->next, 0);
  for (size_t i = blocks_.size(); i-- > used;) {
    store(blocks_[i]->next, 0);
    store(blocks_[i]->count, 0);
  }
  if (used > 0) store(blocks_[used - 1]->count, entries - (used - 1) * per_block);
  written_ = entries;
}

void* BlockSet::reserve_entry() {
  if (incoming_ || written_ == capacity()) return nullptr;
  const uint64_t per_block = abi::block_capacity(entry_size_);
  const size_t index = written_ / per_block;
  const uint64_t slot = written_ % per_block;
  std::byte* entry = entry_of(blocks_[index], slot, entry_size_);
  std::memset(entry, 0, entry_size_);
  store(blocks_[index]->count, slot + 1);
  CW_POINT("kho.blocks.after_count");
  if (slot == 0 && index > 0)
    store(blocks_[index - 1]->next, kho_->map().direct_map().to_phys(blocks_[index]).value());
  ++written_;
  CW_POINT("kho.blocks.after_entry");
  return entry;
}

void BlockSet::shrink(uint64_t entries) {
  if (incoming_) {
    log::warn("kho", "shrinking a block set of the previous kernel");
    return;
  }
  if (entries < written_) set_written(entries);
  const uint64_t per_block = abi::block_capacity(entry_size_);
  const uint64_t wanted = entries / per_block + (entries % per_block != 0);
  while (blocks_.size() > wanted) {
    kho_->unpreserve_free(blocks_.back());
    blocks_.pop_back();
  }
}

void BlockSet::clear() {
  if (incoming_) {
    log::warn("kho", "clearing a block set of the previous kernel");
    return;
  }
  set_written(0);
  for (abi::BlockHeader* block : blocks_)
    std::memset(entry_of(block, 0, entry_size_), 0, abi::kBlockSize - sizeof(abi::BlockHeader));
  rewind();
}

const void* BlockSet::read_entry() {
  const void* entry = at(read_position_);
  if (entry != nullptr) ++read_position_;
  return entry;
}

void BlockSet::rewind() {
  read_position_ = 0;
}

void* BlockSet::at(uint64_t index) {
  if (index >= written_) return nullptr;
  if (!incoming_) {
    const uint64_t per_block = abi::block_capacity(entry_size_);
    return entry_of(blocks_[index / per_block], index % per_block, entry_size_);
  }
  // A writer may leave any block of the chain partly filled.
  const auto end = std::upper_bound(ends_.begin(), ends_.end(), index);
  const auto block = static_cast<size_t>(end - ends_.begin());
  return entry_of(blocks_[block], index - (block == 0 ? 0 : ends_[block - 1]), entry_size_);
}

uint64_t BlockSet::size() const {
  return written_;
}
uint64_t BlockSet::capacity() const {
  return blocks_.size() * abi::block_capacity(entry_size_);
}

PhysAddr BlockSet::head() const {
  return written_ == 0 ? PhysAddr(0) : kho_->map().direct_map().to_phys(blocks_.front());
}

void BlockSet::destroy() {
  for (abi::BlockHeader* block : blocks_) {
    if (incoming_) {
      kho_->restore_free(block);
    } else {
      kho_->unpreserve_free(block);
    }
    CW_POINT("kho.blocks.after_free");
  }
  blocks_.clear();
  ends_.clear();
  written_ = read_position_ = 0;
}

}  // namespace causeway::kho
