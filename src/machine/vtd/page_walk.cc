#include "machine/vtd/page_walk.h"

#include "hw/address_map.h"
#include "hw/vtd.h"

namespace causeway::machine::vtd {
namespace {

using namespace hw::vtd;

constexpr unsigned kLevelBits = 9;
// No memory lies there.
constexpr uint64_t kBeyondMemory = kEntryAddress & ~((uint64_t{1} << hw::kPhysAddrBits) - 1);
// Neither hardware's nor, by 9.8, software's.
constexpr uint64_t kSecondReserved = 0x7c | uint64_t{3} << 61;

struct Reasons {
  uint8_t table, reserved, no_read, no_write, width;
};

Reasons reasons_of(const Stage& stage) {
  if (stage.first)
    return {kFirstStageAccess, kFirstStageReserved, kFirstStageNotPresent, kStageNoWrite, kNonCanonical};
  if (stage.scalable)
    return {kSecondStageAccess, kSecondStageReserved, kSecondStagePermission, kSecondStagePermission,
            kSecondStageWidth};
  return {kNextTableInvalid, kEntryReservedBits, kNoRead, kNoWrite, kBeyondWidth};
}

bool is_within(const Stage& stage, uint64_t address) {
  unsigned bits = 12 + kLevelBits * stage.levels;
  if (!stage.first) return (bits >= 64 || address >> bits == 0) && address >> stage.width == 0;
  // The bits above the highest translated one repeat it.
  auto above = static_cast<int64_t>(address) >> (bits - 1);
  return above == 0 || above == -1;
}

uint64_t span_mask(unsigned level) {
  return (uint64_t{1} << (12 + kLevelBits * level)) - 1;
}

// One step: what an entry says. `reason` 0 and not a leaf: go on at `next`.
struct Step {
  uint8_t reason = 0;
  bool leaf = false;
};

Step judge(const Stage& stage, const Reasons& reasons, uint64_t entry, unsigned level, Access access) {
  const bool large = SecondLarge::get(entry) != 0;  // the same bit in both formats
  const bool leaf = level == 0 || large;
  if (stage.first) {
    if (FirstPresent::get(entry) == 0) return {kFirstStageNotPresent};
    if (level > 2 && large) return {reasons.reserved};
  } else {
    if (SecondRead::get(entry) == 0 && SecondWrite::get(entry) == 0)
      return {access == Access::kWrite ? reasons.no_write : reasons.no_read};
    if ((entry & kSecondReserved) != 0 || (level > 2 && large)) return {reasons.reserved};
  }
  if ((entry & kBeyondMemory) != 0) return {reasons.reserved};
  // The address of a large page has as many zeros as the page has bits.
  if (leaf && (entry & kEntryAddress & span_mask(level)) != 0) return {reasons.reserved};
  return {0, leaf};
}

}  // namespace

Leaf walk(const TableMemory& memory, const Stage& stage, uint64_t address, Access access, Update update,
          const LastTable* from, LastTable* last) {
  const Reasons reasons = reasons_of(stage);
  Leaf leaf;
  auto refuse = [&](uint8_t reason) {
    leaf.reason = reason;
    leaf.start = align_down(address, kPageSize);
    return leaf;
  };
  if (!is_within(stage, address)) return refuse(reasons.width);

  bool read = true;
  bool write = true;
  bool user = true;
  unsigned level = stage.levels - 1;
  uint64_t table = stage.top.value();
  uint64_t parent = 0;
  if (from != nullptr) {
    level = 0;
    table = from->table;
    parent = from->parent;
    read = from->read;
    write = from->write;
  }
  // The dirty bit is set when the permission of the whole path is known, so the last entry is kept.
  while (true) {
    const PhysAddr at(table + (address >> (12 + kLevelBits * level) & 0x1ff) * 8);
    uint64_t entry;
    if (!memory.load(at, &entry)) return refuse(reasons.table);
    const Step step = judge(stage, reasons, entry, level, access);
    if (step.reason != 0) return refuse(step.reason);
    read = read && (stage.first || SecondRead::get(entry) != 0);
    write = write && SecondWrite::get(entry) != 0;  // the same bit in both formats
    user = user && (!stage.first || FirstUser::get(entry) != 0);

    const bool marks = stage.first || stage.dirty;
    const uint64_t accessed = stage.first ? FirstAccessed::kMask : SecondAccessed::kMask;
    const uint64_t dirty = stage.first ? FirstDirty::kMask : SecondDirty::kMask;
    if (step.leaf) {
      if (!user) return refuse(kSupervisorPage);
      if (access == Access::kWrite && !write) return refuse(reasons.no_write);
      if (access == Access::kRead && !read) return refuse(reasons.no_read);
    }
    if (marks && update == Update::kYes) {
      uint64_t wanted = accessed | (step.leaf && access == Access::kWrite ? dirty : 0);
      // Software has changed the entry meanwhile: look again.
      if ((entry & wanted) != wanted && !memory.add_bits(at, entry, wanted & ~entry)) {
        uint64_t now;
        if (memory.load(at, &now) && now != entry) return walk(memory, stage, address, access, update, nullptr, last);
        return refuse(reasons.table);
      }
      entry |= wanted;
    }
    if (!step.leaf) {
      table = entry & kEntryAddress;
      parent = at.value();
      --level;
      if (level == 0 && last != nullptr) *last = {table, parent, read, write};
      continue;
    }
    leaf.shift = static_cast<uint8_t>(12 + kLevelBits * level);
    leaf.start = address & ~span_mask(level);
    leaf.base = entry & kEntryAddress;
    leaf.read = read;
    leaf.write = write;
    leaf.write_marks = marks && (entry & dirty) == 0;
    if (level == 0) {
      leaf.table = table;
      leaf.parent = parent;
    }
    return leaf;
  }
}

}  // namespace causeway::machine::vtd
