// What a page-table format tells the algorithms of page_table.h: constants and functions of one 64-bit entry. A format
// knows nothing of tables, memory or ranges.
//
//   static_assert(PageTableFormat<Vtdss>);
//   Vtdss::kind(word, 1) == EntryKind::kLeaf         // a 2 MiB page
//
// Tables are one 4 KiB page of 512 entries. Level 0 holds the smallest leaves; a table of level L covers
// 2^item_lg2<F>(L + 1) bytes. An empty entry is a word of 0 in every format.
#pragma once

#include <concepts>
#include <cstdint>

#include "base/types.h"

namespace causeway::iommu::pt {

enum class EntryKind : uint8_t { kEmpty, kTable, kLeaf };

inline constexpr unsigned kItemsLg2 = 9;
inline constexpr unsigned kItems = 1u << kItemsLg2;

// clang-format off
template <typename F>
concept PageTableFormat = requires(uint64_t word, unsigned level, PhysAddr phys, uint32_t bits) {
  { F::kName } -> std::convertible_to<const char*>;
  { F::kGranuleLg2 } -> std::convertible_to<unsigned>;
  { F::kMaxLevel } -> std::convertible_to<unsigned>;       // of a top table
  { F::kMinTopLevel } -> std::convertible_to<unsigned>;
  { F::kMaxLeafLevel } -> std::convertible_to<unsigned>;
  { F::kMaxVaLg2 } -> std::convertible_to<unsigned>;
  { F::kMaxOaLg2 } -> std::convertible_to<unsigned>;
  { F::kFeatures } -> std::convertible_to<uint32_t>;       // that may be asked for
  { F::kDirty } -> std::convertible_to<bool>;              // hardware may be told to report writes
  { F::kContiguous } -> std::convertible_to<bool>;         // leaves of several equal words
  { F::kDirtyMask } -> std::convertible_to<uint64_t>;
  { F::kFlushedMask } -> std::convertible_to<uint64_t>;    // software bit 0, of table entries
  // Leaf sizes of a level, whatever the options are.
  { F::sizes(level) } -> std::same_as<uint64_t>;
  { F::kind(word, level) } -> std::same_as<EntryKind>;
  { F::table_entry(phys, level) } -> std::same_as<uint64_t>;   // `level` of the table that holds it
  { F::table_of(word) } -> std::same_as<PhysAddr>;
  // The leaf's bits for kRead and so on, given Feature bits. 0: it cannot say that.
  { F::attributes(bits, bits) } -> std::same_as<uint64_t>;
  { F::attributes_of(word) } -> std::same_as<uint64_t>;
  { F::prot(word) } -> std::same_as<uint32_t>;
  { F::leaf(word, phys, level, level) } -> std::same_as<uint64_t>;  // attributes, where, level, log2 of the size
  { F::leaf_phys(word, level) } -> std::same_as<PhysAddr>;          // where the leaf begins
  { F::leaf_lg2(word, level) } -> std::same_as<unsigned>;
  { F::writable(word) } -> std::same_as<bool>;
  // No reserved bit is set; of what another kernel wrote.
  { F::sound(word, level) } -> std::same_as<bool>;
};
// clang-format on

template <typename F>
constexpr unsigned item_lg2(unsigned level) {
  return F::kGranuleLg2 + level * kItemsLg2;
}

}  // namespace causeway::iommu::pt
