#include "drivers/allocation_pool.h"

#include <cstring>
#include <utility>

#include "base/log.h"
#include "drivers/abi/allocation_pool_v1.h"

namespace causeway::drivers {

Status AllocationPool::restore_or_allocate(uint64_t count) {
  Result<kho::Subtree> found = kho_.retrieve_subtree(kAllocationPoolSubtree);
  if (!found) {
    if (found.error().code != Errno{ENOENT}) return fail(found.error());
    buffers_.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      buffers_.push_back(CW_TRY(PreservedBuffer::allocate(device_, kPageSize)));
      *buffers_.back().memory.as<uint64_t>() = i;
    }
    return {};
  }
  if (!kho_.preserved_order(found->phys) || found->size < sizeof(abi::AllocationPoolState))
    return fail(EINVAL, "the pool's handover was not preserved");
  predecessor_state_ = kho_.map().direct_map().to_virt(found->phys);
  const auto& old = *static_cast<const abi::AllocationPoolState*>(predecessor_state_);
  if (std::memcmp(old.compatible, abi::kAllocationPoolCompatible, sizeof old.compatible) != 0)
    return fail(EPROTONOSUPPORT, "the pool's handover is of another version");
  predecessor_table_ = CW_TRY(kho::BlockSet::restore(kho_, PhysAddr(old.tokens), sizeof(uint64_t)));
  buffers_.reserve(predecessor_table_->size());
  while (const auto* token = predecessor_table_->read<uint64_t>()) {
    buffers_.push_back(CW_TRY(PreservedBuffer::restore(device_, kPageSize, *token)));
  }
  return {};
}

Status AllocationPool::check_contents() const {
  for (uint64_t i = 0; i < buffers_.size(); ++i) {
    uint64_t number = *buffers_[i].memory.as<uint64_t>();
    if (number == i) continue;
    log::error("drivers", "allocation {} of the pool holds {}", i, number);
    return fail(EILSEQ, "an allocation of the pool came back with other contents");
  }
  return {};
}

Status AllocationPool::preserve() {
  CW_TRY(check_contents());
  auto* state = static_cast<abi::AllocationPoolState*>(
      CW_TRY(kho_.alloc_preserve(sizeof(abi::AllocationPoolState))));
  table_ = CW_TRY(kho::BlockSet::create(kho_, sizeof(uint64_t)));
  CW_TRY(table_->grow(buffers_.size()));
  for (PreservedBuffer& buffer : buffers_) {
    CW_TRY(buffer.preserve(device_));
    *table_->reserve<uint64_t>() = buffer.token_value();
  }
  std::memcpy(state->compatible, abi::kAllocationPoolCompatible, sizeof state->compatible);
  state->tokens = table_->head().value();
  state->count = buffers_.size();
  return kho_.add_subtree(kAllocationPoolSubtree, state, sizeof *state);
}

void AllocationPool::handover_committed() {
  if (predecessor_table_) predecessor_table_->destroy();
  predecessor_table_.reset();
  kho_.restore_free(std::exchange(predecessor_state_, nullptr));
}

}  // namespace causeway::drivers
