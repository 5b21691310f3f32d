// Hardware that does not snoop: it sees what was flushed, and nothing else.
#include <gtest/gtest.h>

#include <unordered_map>

#include "base/testing/results.h"
#include "iommu/pt/testing/table_memory.h"
#include "iommu/pt/vtdss.h"
#include "iommu/pt/x86_64.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;

template <typename F>
struct Snoopless {
  explicit Snoopless(kho::TestMachine& machine, uint32_t features = kDmaIncoherent) : memory(machine) {
    PageTableOptions options{.pages = memory.pages, .features = features};
    options.hooks.flush_cache = [this](const void* from, uint64_t bytes) {
      const auto* words = static_cast<const uint64_t*>(from);
      for (uint64_t i = 0; i < bytes / sizeof(uint64_t); ++i) flushed[words + i] = words[i];
      if (table != nullptr) expect_whole(root(), table->root().level);
    };
    table = must(F::kDirty ? make_vtdss(options) : make_x86_64(options));
  }
  const uint64_t* root() const { return memory.pages.virt(table->root().top); }

  // At every moment: whatever can be reached has been written back in full.
  void expect_whole(const uint64_t* at, unsigned level) {
    for (unsigned i = 0; i < pt::kItems; ++i) {
      auto word = flushed.find(at + i);
      ASSERT_NE(word, flushed.end()) << "level " << level << ", entry " << i << " was never flushed";
      if (pt::EntryKind::kTable == F::kind(word->second, level))
        expect_whole(memory.pages.virt(F::table_of(word->second)), level - 1);
    }
  }
  std::optional<PhysAddr> walk(Iova iova) const {
    const uint64_t* at = root();
    for (unsigned level = table->root().level;; --level) {
      const unsigned shift = pt::item_lg2<F>(level);
      auto word = flushed.find(at + (iova.value() >> shift & (pt::kItems - 1)));
      if (word == flushed.end()) return std::nullopt;
      switch (F::kind(word->second, level)) {
        case pt::EntryKind::kEmpty: return std::nullopt;
        case pt::EntryKind::kTable: at = memory.pages.virt(F::table_of(word->second)); break;
        case pt::EntryKind::kLeaf:
          return F::leaf_phys(word->second, level) + (iova.value() & ((uint64_t{1} << shift) - 1));
      }
    }
  }

  TableMemory memory;
  std::unordered_map<const uint64_t*, uint64_t> flushed;
  std::unique_ptr<IoPageTable> table;
};

template <typename F>
class IncoherentTable : public ::testing::Test {};
using Formats = ::testing::Types<pt::Vtdss, pt::X86_64>;
TYPED_TEST_SUITE(IncoherentTable, Formats);

// 13
TYPED_TEST(IncoherentTable, TheHardwareSeesCompleteTables) {
  kho::TestMachine machine;
  Snoopless<TypeParam> hardware(machine);
  IoPageTable& table = *hardware.table;
  uint64_t mapped = 0;
  must(table.map(Iova{0x1000}, PhysAddr{0x5000}, KiB(4), kAll, &mapped));
  EXPECT_EQ(hardware.walk(Iova{0x1234}), PhysAddr{0x5234});
  must(table.map(Iova{MiB(2) - KiB(8)}, PhysAddr{MiB(6) - KiB(8)}, MiB(4), kAll, &mapped));
  for (uint64_t at = MiB(2) - KiB(8); at < MiB(6) - KiB(8); at += KiB(4))
    ASSERT_EQ(hardware.walk(Iova{at}), PhysAddr{at + MiB(4)});
  EXPECT_EQ(unmap_and_free(table, hardware.memory.pages, Iova{MiB(2)}, MiB(2)), MiB(2));
  EXPECT_FALSE(hardware.walk(Iova{MiB(2)}));
  EXPECT_FALSE(hardware.walk(Iova{MiB(4) - 1}));
  EXPECT_TRUE(hardware.walk(Iova{MiB(4)}));
  EXPECT_EQ(unmap_and_free(table, hardware.memory.pages, Iova{MiB(4)}, MiB(2) - KiB(8)), MiB(2) - KiB(8));
  must(table.map(Iova{MiB(4)}, PhysAddr{MiB(8)}, MiB(2), kAll, &mapped));  // over an empty table
  EXPECT_EQ(hardware.walk(Iova{MiB(5)}), PhysAddr{MiB(9)});
}

// Another thread has linked a table and not come to flush the link.
TYPED_TEST(IncoherentTable, WhoFindsAnEntryUnflushedFlushesIt) {
  kho::TestMachine machine;
  Snoopless<TypeParam> hardware(machine);
  uint64_t mapped = 0;
  must(hardware.table->map(Iova{0}, PhysAddr{0x5000}, KiB(4), kAll, &mapped));
  uint64_t& entry = hardware.memory.pages.virt(hardware.table->root().top)[0];
  EXPECT_NE(entry & TypeParam::kFlushedMask, 0u);
  entry &= ~TypeParam::kFlushedMask;
  hardware.flushed[&entry] = 0;
  must(hardware.table->map(Iova{0x1000}, PhysAddr{0x6000}, KiB(4), kAll, &mapped));
  EXPECT_EQ(hardware.walk(Iova{0x1000}), PhysAddr{0x6000});
  EXPECT_NE(entry & TypeParam::kFlushedMask, 0u);
}

// The model does notice.
TYPED_TEST(IncoherentTable, ATableThatIsNotFlushedIsNotSeen) {
  kho::TestMachine machine;
  Snoopless<TypeParam> hardware(machine, 0);
  uint64_t mapped = 0;
  must(hardware.table->map(Iova{0}, PhysAddr{0x5000}, KiB(4), kAll, &mapped));
  EXPECT_TRUE(hardware.flushed.empty());
  EXPECT_FALSE(hardware.walk(Iova{0}));
}

}  // namespace
}  // namespace causeway::iommu
