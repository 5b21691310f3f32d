#include "machine/vtd/iotlb.h"

namespace causeway::machine::vtd {
namespace {

constexpr unsigned kLargeShift = 21;

// Drops what lies in [first, last] of a map whose keys are numbers; by whichever is shorter, the range or the map.
template <typename Map>
void erase_range(Map& map, uint64_t first, uint64_t last) {
  if (last - first < map.size()) {
    for (uint64_t key = first; key <= last; ++key) map.erase(key);
  } else {
    std::erase_if(map, [&](const auto& item) { return item.first >= first && item.first <= last; });
  }
}

}  // namespace

const Iotlb::Entry* Iotlb::find(Tag tag, uint64_t address) const {
  auto space = spaces_.find(key_of(tag));
  if (space == spaces_.end()) return nullptr;
  for (unsigned size = 0; size < kSizes; ++size) {
    const auto& leaves = space->second.leaves[size];
    if (leaves.empty()) continue;
    if (auto entry = leaves.find(address >> (12 + 9 * size)); entry != leaves.end()) return &entry->second;
  }
  return nullptr;
}

void Iotlb::insert(Tag tag, const Entry& entry) {
  auto& leaves = spaces_[key_of(tag)].leaves[(entry.leaf.shift - 12u) / 9];
  leaves.insert_or_assign(entry.leaf.start >> entry.leaf.shift, entry);
}

Iotlb::Table* Iotlb::find_table(Tag tag, uint64_t address) {
  auto space = spaces_.find(key_of(tag));
  if (space == spaces_.end()) return nullptr;
  auto table = space->second.tables.find(address >> kLargeShift);
  return table == space->second.tables.end() ? nullptr : &table->second;
}

void Iotlb::insert_table(Tag tag, uint64_t address, const Table& table) {
  spaces_[key_of(tag)].tables.insert_or_assign(address >> kLargeShift, table);
}

void Iotlb::drop_domain(uint16_t domain) {
  std::erase_if(spaces_, [&](const auto& item) { return tag_of(item.first).domain == domain; });
}

void Iotlb::drop_space(Tag tag) {
  spaces_.erase(key_of(tag));
}

void Iotlb::drop_pages(Tag tag, uint64_t address, unsigned order, TablesStay tables) {
  auto space = spaces_.find(key_of(tag));
  if (space == spaces_.end()) return;
  const unsigned shift = 12 + order;
  const uint64_t first = shift >= 64 ? 0 : address >> shift << shift;
  const uint64_t last = shift >= 64 ? ~uint64_t{0} : first | ((uint64_t{1} << shift) - 1);
  for (unsigned size = 0; size < kSizes; ++size)
    erase_range(space->second.leaves[size], first >> (12 + 9 * size), last >> (12 + 9 * size));
  if (tables == TablesStay::kNo) erase_range(space->second.tables, first >> kLargeShift, last >> kLargeShift);
}

size_t Iotlb::entries() const {
  size_t count = 0;
  for (const auto& [tag, space] : spaces_)
    for (const auto& leaves : space.leaves) count += leaves.size();
  return count;
}

}  // namespace causeway::machine::vtd
