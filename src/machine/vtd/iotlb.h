// What a unit remembers of page tables: translations, and tables of 4 KiB leaves.
//
//   iotlb.insert({domain, pasid}, {leaf, stage, requester});
//   if (const Iotlb::Entry* hit = iotlb.find({domain, pasid}, iova)) ...
//   iotlb.drop_pages({domain, pasid}, iova, 0, TablesStay::kNo);
//
// It never forgets by itself, so that whoever forgets to invalidate gets what he deserves. The unit's lock guards it.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/types.h"
#include "machine/vtd/context_walk.h"
#include "machine/vtd/page_walk.h"

namespace causeway::machine::vtd {

// IH of an invalidation: software says that it freed no table.
enum class TablesStay : bool { kNo, kYes };

class Iotlb {
 public:
  // `pasid` is kNoPasid for a second stage.
  struct Tag {
    uint16_t domain;
    uint32_t pasid;
    bool operator==(const Tag&) const = default;
  };
  struct Entry {
    Leaf leaf;
    Stage stage;  // it was walked from here
    Bdf requester;
    std::optional<uint32_t> request_pasid;  // of the request that brought it in
  };
  struct Table {
    LastTable last;
    Stage stage;
    bool kept = false;  // software has said of it that it was not freed, when its parent already said otherwise
  };

  const Entry* find(Tag tag, uint64_t address) const;
  void insert(Tag tag, const Entry& entry);
  Table* find_table(Tag tag, uint64_t address);
  void insert_table(Tag tag, uint64_t address, const Table& table);

  void drop_all() { spaces_.clear(); }
  void drop_domain(uint16_t domain);
  void drop_space(Tag tag);
  // 2^order pages; what overlaps them goes.
  void drop_pages(Tag tag, uint64_t address, unsigned order, TablesStay tables);

  size_t entries() const;
  template <typename Use>
  void for_each(const Use& use) const {
    for (const auto& [tag, space] : spaces_)
      for (const auto& leaves : space.leaves)
        for (const auto& [page, entry] : leaves) use(Tag(tag_of(tag)), entry);
  }

 private:
  static constexpr unsigned kSizes = 3;
  struct Space {
    std::array<std::unordered_map<uint64_t, Entry>, kSizes> leaves;  // by address >> (12 + 9 * index)
    std::unordered_map<uint64_t, Table> tables;                     // by address >> 21
  };
  static uint64_t key_of(Tag tag) { return uint64_t{tag.pasid} << 16 | tag.domain; }
  static Tag tag_of(uint64_t key) { return {static_cast<uint16_t>(key), static_cast<uint32_t>(key >> 16)}; }
  std::unordered_map<uint64_t, Space> spaces_;
};

}  // namespace causeway::machine::vtd
