// Random maps, allocations, live updates, claims and releases behind an IOMMU, against a model that knows where every bus
// address must lead.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <utility>

#include "base/log.h"
#include "dma/iommu/testing/behind_iommu.h"

namespace causeway::dma::testing {
namespace {

using iommu::DomainType;

constexpr Order kArena{6};

struct Streaming {
  PhysAddr phys;
  uint64_t size;
  Direction direction;
};
struct Buffer {
  Coherent memory;
  PhysAddr phys;
  Token token = Token::kNone;
  uint64_t stamp = 0;
};

class Model {
 public:
  Model(unsigned seed, DomainType type) : random_(seed), t_({.type = type}, {}, {.debug = true}) {
    t_.iommu->set_preserved(true);
    arena_ = page(t_.system, kArena.value());
    boot();
  }

  void run(unsigned operations) {
    for (unsigned i = 0; i < operations && !::testing::Test::HasFailure(); ++i) {
      const unsigned dice = pick(100);
      if (dice < 35)
        map();
      else if (dice < 55)
        unmap();
      else if (dice < 70)
        allocate();
      else if (dice < 80)
        free();
      else if (dice < 95)
        preserve_or_not();
      else
        live_update();
      audit();
    }
    while (!streaming_.empty()) unmap();
    while (!buffers_.empty()) free();
    t_.iommu->drain();
    EXPECT_EQ(t_.domain.counts().mapped_bytes, 0u);
    EXPECT_EQ(t_.iommu->stats().mapped, 0u);
    EXPECT_EQ(misuse(), 0u);
    EXPECT_GT(claims_, 20u);
    EXPECT_GT(released_, 0u);
  }

 private:
  unsigned pick(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random_); }
  template <typename Map>
  typename Map::iterator any(Map& map) {
    return std::next(map.begin(), pick(static_cast<unsigned>(map.size())));
  }
  uint64_t misuse() { return t_.system.dma().stats().debug_errors; }

  // What every kernel begins with. The arena stays reserved all the time, as buffers of a device in use do.
  void boot() {
    nic_.emplace(t_.device());
    must(t_.system.kho().preserve_page(t_.system.map().page(arena_), kArena));
  }

  void map() {
    if (streaming_.size() >= 40) return;
    // A granule of its own for each, or dma-debug complains that lines are shared.
    const uint64_t pages = 1 + pick(pick(4) == 0 ? 40 : 5);
    const uint64_t first = pick(static_cast<unsigned>(kArena.pages() - pages + 1));
    const uint64_t offset = pick(2) == 0 ? 0 : 64 * pick(16);
    Streaming one{arena_ + (first * kPageSize + offset), pages * kPageSize - offset - 64 * pick(8),
                  Direction::kToDevice};
    DmaAddr address = map_phys(*nic_, one.phys, one.size, one.direction, Attr::kNone);
    ASSERT_TRUE(mapping_error(*nic_, address));
    ASSERT_TRUE(streaming_.emplace(address.value(), one).second);
  }
  void unmap() {
    if (streaming_.empty()) return;
    auto at = any(streaming_);
    unmap_phys(*nic_, DmaAddr(at->first), at->second.size, at->second.direction, Attr::kNone);
    streaming_.erase(at);
  }
  void allocate() {
    if (buffers_.size() >= 20) return;
    Buffer one{.memory = must(alloc_attrs(*nic_, 1 + pick(KiB(48)), mm::kGfpKernel, Attr::kForceContiguous)), .stamp = random_()};
    one.phys = *t_.domain.iova_to_phys(Iova(one.memory.handle.value()));
    *one.memory.as<uint64_t>() = one.stamp;
    ASSERT_TRUE(buffers_.emplace(one.memory.handle.value(), one).second);
  }
  void free() {
    if (buffers_.empty()) return;
    auto at = any(buffers_);
    if (at->second.token != Token::kNone) must(unpreserve_allocation(*nic_, at->second.token));
    must(free_attrs(*nic_, at->second.memory, Attr::kForceContiguous));
    buffers_.erase(at);
  }
  void preserve_or_not() {
    if (buffers_.empty()) return;
    Buffer& one = any(buffers_)->second;
    if (one.token == Token::kNone) {
      one.token = must(preserve_allocation(*nic_, one.memory, Attr::kForceContiguous));
    } else if (pick(4) == 0) {
      must(unpreserve_allocation(*nic_, one.token));
      one.token = Token::kNone;
    }
  }

  void live_update() {
    EXPECT_EQ(misuse(), 0u);
    t_.kexec();
    ASSERT_NE(t_.system.kho().restore_page(arena_), nullptr);
    boot();
    // Some have owners that come back; some new ones come before all old ones are known.
    uint64_t lost = 0;
    auto fresh_maps = [&] {
      if (pick(3) == 0) map();
    };
    std::map<uint64_t, Streaming> old = std::exchange(streaming_, {});
    std::map<uint64_t, Buffer> old_buffers = std::exchange(buffers_, {});
    for (const auto& [address, one] : old) {
      wrong_claims(address, one);
      fresh_maps();
      if (pick(4) == 0) {
        lost += granules(address, one.size);
        continue;
      }
      must(restore_mapping(*nic_, DmaAddr(address), one.size, one.direction));
      ASSERT_TRUE(streaming_.emplace(address, one).second) << "given to somebody else";
      ++claims_;
    }
    for (auto& [address, one] : old_buffers) {
      if (one.token == Token::kNone || pick(4) == 0) {
        lost += granules(address, one.memory.size);
        continue;
      }
      one.memory = must(restore_allocation(*nic_, one.memory.size, mm::kGfpKernel, Attr::kForceContiguous, one.token));
      ASSERT_EQ(one.memory.handle.value(), address);
      one.token = Token::kNone;
      ASSERT_TRUE(buffers_.emplace(address, one).second);
      ++claims_;
    }
    EXPECT_EQ(t_.iommu->stats().unclaimed, lost << kPageShift);
    EXPECT_EQ(t_.iommu->release_unclaimed(), lost << kPageShift);
    released_ += lost;
    EXPECT_EQ(t_.iommu->stats().mapped, streaming_.size() + buffers_.size());
  }
  static uint64_t granules(uint64_t address, uint64_t size) {
    return ((address & (kPageSize - 1)) + size + kPageSize - 1) >> kPageShift;
  }
  // Too long, and beginning elsewhere. What a neighbour has mapped right behind it looks as if it could be one with it.
  void wrong_claims(uint64_t address, const Streaming& one) {
    const uint64_t longer = granules(address, one.size) * kPageSize + 64;
    const bool ends_there = !t_.domain.iova_to_phys(Iova(address + longer - 64));
    if (ends_there && pick(2) == 0) {
      Status claimed = restore_mapping(*nic_, DmaAddr(address), longer, one.direction);
      EXPECT_FALSE(claimed);
    }
    if (pick(2) == 0 && granules(address, one.size) > 2) {
      EXPECT_FALSE(restore_mapping(*nic_, DmaAddr(address + kPageSize), 2 * kPageSize, one.direction));
    }
    if (pick(4) == 0) {
      EXPECT_EQ(error_of(restore_mapping(*nic_, DmaAddr(address), one.size, Direction::kFromDevice)), EINVAL);
    }
  }

  void audit() {
    uint64_t bytes = 0;
    auto leads_to = [&](uint64_t address, PhysAddr phys, uint64_t size) {
      const uint64_t count = granules(address, size);
      for (uint64_t i = 0; i < count; ++i) {
        EXPECT_EQ(t_.domain.iova_to_phys(Iova(align_down(address, kPageSize) + i * kPageSize)),
                  phys.aligned_down(kPageSize) + i * kPageSize);
      }
      bytes += count << kPageShift;
    };
    for (const auto& [address, one] : streaming_) leads_to(address, one.phys, one.size);
    for (const auto& [address, one] : buffers_) {
      leads_to(address, one.phys, one.memory.size);
      EXPECT_EQ(*one.memory.as<uint64_t>(), one.stamp);
    }
    EXPECT_EQ(t_.domain.counts().mapped_bytes, bytes);
  }

  std::mt19937 random_;
  BehindIommu t_;
  std::optional<Device> nic_;
  PhysAddr arena_;
  std::map<uint64_t, Streaming> streaming_;
  std::map<uint64_t, Buffer> buffers_;
  uint64_t claims_ = 0;
  uint64_t released_ = 0;
};

TEST(RestoreModel, EveryAddressLeadsWhereItDidOrNowhere) {
  log::Capture quiet;
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Model(seed, seed % 2 != 0 ? DomainType::kDma : DomainType::kDmaFq).run(400);
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace causeway::dma::testing
