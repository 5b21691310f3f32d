#include "dma/allocations.h"

#include "base/log.h"

namespace causeway::dma {

void AllocationTable::insert(const Allocation& allocation) {
  bool added = shard_of(allocation.cpu).with([&](Shard& shard) {
    return shard.insert_or_assign(allocation.cpu, allocation).second;
  });
  if (!added) log::error("dma", "{} was handed out twice", allocation.cpu);
}

Result<AllocationTable::Shard::iterator> AllocationTable::find(Shard& shard, const Claim& claim) {
  auto found = shard.find(claim.cpu);
  if (found == shard.end()) return fail(EINVAL, "not an allocation");
  const Allocation& live = found->second;
  if (live.requester != claim.requester) return fail(EINVAL, "an allocation of another device");
  if (live.kind != claim.kind) return fail(EINVAL, "allocated by another function");
  if (live.size != claim.size || live.handle != claim.handle) {
    log::warn("dma", "allocation {}: {} bytes at {}, want {} bytes at {}", claim.cpu, claim.size,
              claim.handle, live.size, live.handle);
    return fail(EINVAL, "the allocation has another size or handle");
  }
  if (live.attrs != claim.attrs) {
    log::warn("dma", "allocation {}: attributes {:#x}, want {:#x}", claim.cpu,
              static_cast<uint64_t>(claim.attrs), static_cast<uint64_t>(live.attrs));
    return fail(EINVAL, "the allocation has other attributes");
  }
  return found;
}

Result<Allocation> AllocationTable::look_up(const Claim& claim) {
  return shard_of(claim.cpu).with(
      [&](Shard& shard) -> Result<Allocation> { return CW_TRY(find(shard, claim))->second; });
}

Result<Allocation> AllocationTable::take(const Claim& claim) {
  return shard_of(claim.cpu).with([&](Shard& shard) -> Result<Allocation> {
    auto found = CW_TRY(find(shard, claim));
    if (found->second.preserved) return fail(EBUSY, "the allocation is preserved");
    Allocation taken = found->second;
    shard.erase(found);
    return taken;
  });
}

Result<Allocation> AllocationTable::mark_preserved(const Claim& claim) {
  return shard_of(claim.cpu).with([&](Shard& shard) -> Result<Allocation> {
    auto found = CW_TRY(find(shard, claim));
    if (found->second.preserved) return fail(EBUSY, "the allocation is preserved already");
    found->second.preserved = true;
    return found->second;
  });
}

void AllocationTable::clear_preserved(void* cpu) {
  shard_of(cpu).with([&](Shard& shard) {
    auto found = shard.find(cpu);
    if (found != shard.end()) found->second.preserved = false;
  });
}

uint64_t AllocationTable::size() const {
  uint64_t total = 0;
  for (const auto& shard : shards_) total += shard.with([](const Shard& entries) { return entries.size(); });
  return total;
}

}  // namespace causeway::dma
