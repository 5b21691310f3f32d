#include "iommu/vtd/domain_ids.h"

#include <bit>
#include <cassert>

namespace causeway::iommu::vtd {

DomainIds::DomainIds(uint32_t domains) : domains_(domains) {
  state_.with([&](State& state) {
    state.words.resize((domains + 63) / 64);
    state.words[0] = 3;  // 0 and 1
    // Ids that the unit does not have are taken for ever.
    if (domains < 64) state.words[0] |= ~uint64_t{0} << domains;
  });
}

Result<DomainId> DomainIds::allocate() {
  return state_.with([&](State& state) -> Result<DomainId> {
    for (; state.first_free < state.words.size(); ++state.first_free) {
      uint64_t& word = state.words[state.first_free];
      if (word == ~uint64_t{0}) continue;
      auto bit = static_cast<unsigned>(std::countr_one(word));
      word |= uint64_t{1} << bit;
      ++state.taken;
      return DomainId(state.first_free * 64 + bit);
    }
    return fail(ENOSPC, "the remapping unit has no domain id left");
  });
}

Status DomainIds::reserve(DomainId id) {
  auto number = static_cast<uint32_t>(id);
  if (number < 2 || number >= domains_) return fail(EINVAL, "no domain id of this remapping unit");
  return state_.with([&](State& state) -> Status {
    uint64_t bit = uint64_t{1} << number % 64;
    if ((state.words[number / 64] & bit) != 0) return fail(EBUSY, "the domain id is taken");
    state.words[number / 64] |= bit;
    ++state.taken;
    return {};
  });
}

void DomainIds::free(DomainId id) {
  auto number = static_cast<uint32_t>(id);
  assert(number >= 2 && number < domains_ && is_taken(id));
  state_.with([&](State& state) {
    state.words[number / 64] &= ~(uint64_t{1} << number % 64);
    if (number / 64 < state.first_free) state.first_free = number / 64;
    --state.taken;
  });
}

bool DomainIds::is_taken(DomainId id) const {
  auto number = static_cast<uint32_t>(id);
  if (number >= domains_) return false;
  return state_.with([&](const State& state) { return (state.words[number / 64] >> number % 64 & 1) != 0; });
}

uint32_t DomainIds::taken() const {
  return state_.with([](const State& state) { return state.taken; });
}

}  // namespace causeway::iommu::vtd
