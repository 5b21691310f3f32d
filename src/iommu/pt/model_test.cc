// Random maps and unmaps, compared step by step with a model that keeps leaves in a std::map.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/testing/results.h"
#include "iommu/pt/testing/configurations.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

class Model {
 public:
  explicit Model(uint64_t page_sizes) : page_sizes_(page_sizes) {}

  struct Leaf {
    uint64_t size, phys;
  };
  // errno; `mapped` as IoPageTable::map().
  int map(uint64_t va, uint64_t oa, uint64_t size, uint64_t* mapped) {
    for (*mapped = 0; *mapped < size;) {
      uint64_t leaf = uint64_t{1} << 63;
      while ((page_sizes_ & leaf) == 0 || ((va | oa) & (leaf - 1)) != 0 || leaf > size - *mapped) leaf >>= 1;
      auto next = leaves_.lower_bound(va);
      if (next != leaves_.end() && next->first < va + leaf) return EADDRINUSE;
      if (next != leaves_.begin() && std::prev(next)->first + std::prev(next)->second.size > va) return EADDRINUSE;
      leaves_[va] = {leaf, oa};
      va += leaf;
      oa += leaf;
      *mapped += leaf;
    }
    return 0;
  }
  uint64_t unmap(uint64_t va, uint64_t size) {
    uint64_t done = 0;
    for (auto at = leaves_.find(va); done < size && at != leaves_.end() && at->first == va + done;) {
      done += at->second.size;
      at = leaves_.erase(at);
    }
    return done;
  }
  std::optional<PhysAddr> find(uint64_t va) const {
    auto next = leaves_.upper_bound(va);
    if (next == leaves_.begin()) return std::nullopt;
    const auto& [base, leaf] = *std::prev(next);
    if (va - base >= leaf.size) return std::nullopt;
    return PhysAddr(leaf.phys + (va - base));
  }
  const std::map<uint64_t, Leaf>& leaves() const { return leaves_; }

 private:
  const uint64_t page_sizes_;
  std::map<uint64_t, Leaf> leaves_;
};

template <typename Config>
class PageTableModel : public ::testing::Test {};
TYPED_TEST_SUITE(PageTableModel, Configurations);

TYPED_TEST(PageTableModel, AgreesAfterEveryStep) {
  constexpr uint64_t kGranule = uint64_t{1} << TypeParam::Format::kGranuleLg2;
  constexpr uint64_t kWindow = MiB(32), kBase = GiB(1) - kWindow / 2;  // the boundary of several tables is inside
  unsigned refused = 0, beyond = 0;
  for (unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    kho::TestMachine machine;
    TableMemory memory(machine);
    auto table = must(TypeParam::make(memory.pages));
    Model model(table->info().page_sizes);
    for (unsigned step = 0; step < 1500; ++step) {
      uint64_t size = align_up(random() % (kWindow >> random() % 13) | 1, kGranule);
      uint64_t at = align_down(random() % (kWindow - size + 1), kGranule);
      if (random() % 2 == 0) at = align_down(at, std::bit_floor(size));
      at += kBase;
      if (random() % 5 < 3) {
        const uint64_t oa = random() % 2 == 0 ? at : align_down(random() % GiB(64), kGranule);
        uint64_t wanted = 0, mapped = 0;
        const int code = model.map(at, oa, size, &wanted);
        ASSERT_EQ(error_of(table->map(Iova{at}, PhysAddr{oa}, size, kRead | kWrite, &mapped)), code) << "step " << step;
        ASSERT_EQ(mapped, wanted) << "step " << step;
        refused += code != 0;
      } else {
        // Mostly where something begins.
        if (auto next = model.leaves().lower_bound(at); random() % 4 != 0 && next != model.leaves().end())
          at = next->first;
        const uint64_t wanted = model.unmap(at, size);
        ASSERT_EQ(unmap_and_free(*table, memory.pages, Iova{at}, size), wanted) << "step " << step;
        beyond += wanted > size;
      }
      for (unsigned i = 0; i < 10; ++i) {
        const uint64_t probe = kBase + random() % kWindow;
        ASSERT_EQ(table->iova_to_phys(Iova{probe}), model.find(probe)) << "step " << step;
      }
      if (step % 50 != 0) continue;
      auto wanted = model.leaves().begin();
      for (const IoPageTable::Leaf& leaf : leaves_of(*table)) {
        ASSERT_NE(wanted, model.leaves().end());
        ASSERT_EQ(leaf.iova.value(), wanted->first);
        ASSERT_EQ(leaf.size, wanted->second.size);
        ASSERT_EQ(leaf.phys.value(), wanted->second.phys);
        ++wanted;
      }
      ASSERT_EQ(wanted, model.leaves().end());
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(beyond, 0u);
}

}  // namespace
}  // namespace causeway::iommu
