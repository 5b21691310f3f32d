#include "inspect/iommu_tables.h"

#include <fmt/format.h>

#include "hw/vtd.h"

namespace causeway::inspect {
namespace {

using namespace hw::vtd;

enum class Kind : uint8_t { kEmpty, kTable, kLeaf };

// Bits that hardware, or the format, reserves; bits above 51 of the first stage are the software's or XD.
constexpr uint64_t kSecondReserved = uint64_t{3} << 61 | 0x7c;

Kind kind_of(Stage stage, unsigned level, uint64_t word) {
  const bool present = stage == Stage::kFirst ? FirstPresent::get(word) != 0 : word != 0;
  if (!present) return Kind::kEmpty;
  static_assert(FirstLarge::get(0x80) == 1 && SecondLarge::get(0x80) == 1);
  const bool large = SecondLarge::get(word) != 0;
  return level == 0 || (large && level < kLeafLevels) ? Kind::kLeaf : Kind::kTable;
}

bool has_reserved_bits(Stage stage, unsigned level, Kind kind, uint64_t word) {
  if (stage == Stage::kSecond && (word & kSecondReserved) != 0) return true;
  // No leaf of 512 GiB.
  if (level >= kLeafLevels && SecondLarge::get(word) != 0) return true;
  const uint64_t below = (kPageSize << 9 * level) - 1;
  // Bit 12 of a large leaf of the first stage is an attribute.
  const uint64_t ignored = stage == Stage::kFirst ? uint64_t{1} << 12 : 0;
  return kind == Kind::kLeaf && (word & kEntryAddress & below & ~ignored) != 0;
}

// What says that a table is of the first stage: entries with P and U, and nothing like it in the second.
Stage guess_stage(const IommuDomain& domain, const PageCopy& top) {
  if (domain.sign_extend) return Stage::kFirst;
  for (unsigned i = 0; i < kPageSize / 8; ++i)
    if (const auto word = top.as<uint64_t>(i * 8); word != 0)
      return FirstPresent::get(word) != 0 && FirstUser::get(word) != 0 ? Stage::kFirst : Stage::kSecond;
  return Stage::kUnknown;
}

class Walk {
 public:
  Walk(Context& context, IommuDomain& domain, const std::function<void(const Leaf&)>& visit)
      : context_(context), domain_(domain), visit_(visit) {}

  void run() {
    const auto top = read_table(context_, domain_.top, "the top page table of a domain");
    if (!top.has_value()) return;
    if (domain_.stage == Stage::kUnknown) domain_.stage = guess_stage(domain_, *top);
    table(*top, static_cast<unsigned>(domain_.level), 0, {.read = true, .write = true});
  }

 private:
  struct Access {
    bool read, write;
  };

  // Recursion is as deep as there are levels.
  void table(const PageCopy& page, unsigned level, uint64_t base, Access access) {
    ++domain_.tables[level];
    for (unsigned i = 0; i < kPageSize / 8; ++i) {
      const auto word = page.as<uint64_t>(i * 8);
      const Kind kind = kind_of(domain_.stage, level, word);
      if (kind == Kind::kEmpty) continue;
      uint64_t iova = base + (uint64_t{i} << (kPageShift + 9 * level));
      const PhysAddr at = page.address + i * 8;
      if (level == domain_.level) iova = at_top(iova, at);
      if (has_reserved_bits(domain_.stage, level, kind, word)) {
        context_.findings.error("iommu.reserved-bits", at,
                                "an entry of level {} of the page table at {} is {:#x}, with reserved bits set: the IOMMU "
                                "refuses what goes through it",
                                level, domain_.top, word);
        if (kind == Kind::kTable) continue;
      }
      const uint64_t target = word & kEntryAddress;
      const Access here = narrowed(access, word);
      if (kind == Kind::kLeaf) {
        ++domain_.leaves[level];
        const Leaf leaf{iova, target & ~((kPageSize << 9 * level) - 1), level, here.read, here.write};
        if (!checked_add(domain_.mapped_bytes, leaf.bytes(), &domain_.mapped_bytes)) domain_.mapped_bytes = ~uint64_t{0};
        visit_(leaf);
        continue;
      }
      ++domain_.links[level];
      if (const auto child = read_table(context_, PhysAddr(target), "a page table of a domain"))
        table(*child, level - 1, iova, here);
    }
  }

  // Of an entry of the top table: beyond the domain's bits it is out of reach, or the upper half of the address space.
  uint64_t at_top(uint64_t iova, PhysAddr at) {
    if (domain_.sign_extend) {
      if ((iova >> (domain_.vasz - 1) & 1) != 0) iova |= ~uint64_t{0} << (domain_.vasz - 1);
    } else if (iova >> domain_.vasz != 0) {
      context_.findings.warning("iommu.beyond-width", at, "an entry for address {:#x} is beyond the {} bits of the domain", iova,
                                domain_.vasz);
    }
    return iova;
  }

  // The first stage has no bit for reading.
  Access narrowed(Access access, uint64_t word) const {
    if (domain_.stage == Stage::kFirst) return {access.read, access.write && FirstWrite::get(word) != 0};
    return {access.read && SecondRead::get(word) != 0, access.write && SecondWrite::get(word) != 0};
  }

  Context& context_;
  IommuDomain& domain_;
  const std::function<void(const Leaf&)>& visit_;
};

}  // namespace

std::optional<PageCopy> read_table(Context& context, PhysAddr page, const char* what) {
  for (const mm::MemRange& area : context.report.scratch)
    if (area.base <= page && page < area.end())
      context.findings.error("iommu.in-scratch", page,
                             "{} lies in scratch at {}: the next kernel's boot memory overwrites it under the device", what,
                             area.base);
  return context.follow(page, what, kTableConsequence);
}

void walk_domain(Context& context, IommuDomain& domain, const std::function<void(const Leaf&)>& visit) {
  constexpr unsigned kLeast = 2;
  if (domain.level < kLeast || domain.level >= kTableLevels) {
    context.findings.error("iommu.domain-level", domain.record, "the top table of a domain is of level {}, want {} to {}: {}",
                           domain.level, kLeast, kTableLevels - 1, kTableConsequence);
    return;
  }
  const uint64_t most = kPageShift + 9 * (domain.level + 1), least = most - 9 + 1;
  if (domain.vasz > most || domain.vasz < least) {
    context.findings.error("iommu.domain-width", domain.record,
                           "a domain has {} bits of address with a top table of level {}, want {} to {}: {}", domain.vasz,
                           domain.level, least, most, kTableConsequence);
    return;
  }
  Walk(context, domain, visit).run();
}

}  // namespace causeway::inspect
