// Random operations against a reference that keeps every range in a std::map: nothing is handed out twice, everything is
// where it may be, and when all is given back all is free.
#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "base/testing/results.h"
#include "iommu/iova.h"

namespace causeway::iommu {
namespace {

using Flush = IovaDomain::Flush;

class Model {
 public:
  explicit Model(uint32_t seed) : random_(seed) {
    while (reserved_.size() < 5) {
      uint64_t first = 0x1000 + random_() % 0x3000;
      uint64_t last = first + random_() % 0x80;
      must(iovas_.reserve(first, last));
      reserved_.push_back({first, last});
    }
  }
  void step() {
    switch (random_() % 16) {
      case 0:
        return iovas_.drain_cpu(random_() % mm::kCpuSlots);
      case 1:
        (void)iovas_.trim_depots();
        return;
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        return release();
      default:
        return take();
    }
  }
  void check() { EXPECT_EQ(iovas_.stats().live, taken_.size()); }
  void finish() {
    while (!taken_.empty()) release();
    iovas_.drain();
    EXPECT_EQ(iovas_.stats().live, 0u);
    EXPECT_EQ(iovas_.stats().cached, 0u);
  }
  unsigned failures() const { return failures_; }

 private:
  struct Range {
    uint64_t first, last;
  };
  void take() {
    const bool fast = random_() % 2 == 0;
    const uint64_t length = 1 + random_() % (random_() % 4 == 0 ? 300 : 40);
    const uint64_t limit = random_() % 3 == 0 ? 0x2000 + random_() % 0x2000 : 0x3fff;
    auto pfn = fast ? iovas_.alloc_fast(length, limit, random_() % 2 == 0 ? Flush::kYes : Flush::kNo)
                    : iovas_.alloc(length, limit);
    if (!pfn) {
      ++failures_;
      return;
    }
    const uint64_t rounded = fast && length < 32 ? std::bit_ceil(length) : length;
    const uint64_t last = *pfn + rounded - 1;
    EXPECT_GE(*pfn, 0x1000u);
    EXPECT_LE(last, limit);
    EXPECT_EQ(*pfn & (std::bit_ceil(rounded) - 1), 0u);
    for (const Range& range : reserved_) EXPECT_TRUE(last < range.first || *pfn > range.last);
    auto above = taken_.lower_bound(*pfn);
    EXPECT_TRUE(above == taken_.end() || above->first > last);
    EXPECT_TRUE(above == taken_.begin() || std::prev(above)->second.last < *pfn);
    taken_[*pfn] = {last, length, fast};
  }
  void release() {
    if (taken_.empty()) return;
    auto at = taken_.lower_bound(0x1000 + random_() % 0x3000);
    if (at == taken_.end()) at = taken_.begin();
    if (at->second.fast)
      iovas_.free_fast(at->first, at->second.length);
    else
      must(iovas_.free(at->first + random_() % (at->second.last - at->first + 1)));
    taken_.erase(at);
  }

  struct Taken {
    uint64_t last, length;
    bool fast;
  };
  std::mt19937 random_;
  IovaDomain iovas_{{.granule = KiB(4), .start = 0x1000}};
  std::vector<Range> reserved_;
  std::map<uint64_t, Taken> taken_;
  unsigned failures_ = 0;
};

TEST(IovaModel, RandomOperationsAgreeWithTheReference) {
  unsigned failures = 0;
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    for (unsigned i = 0; i < 4000; ++i) {
      model.step();
      if (i % 64 == 0) model.check();
    }
    model.finish();
    failures += model.failures();
  }
  EXPECT_GT(failures, 100u);  // the domain was full at times
}

// 87
TEST(IovaThreads, NoAddressHasTwoOwnersAndNoneIsLost) {
  constexpr unsigned kThreads = 64;
  constexpr uint64_t kPages = 0x1000;
  IovaDomain iovas({.granule = KiB(4), .start = 0x1000});
  std::vector<std::atomic<unsigned>> owner(kPages);
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= kThreads; ++id) {
    threads.emplace_back([&, id] {
      std::mt19937 random(id);
      struct Range {
        uint64_t pfn, length;
      };
      std::vector<Range> mine;
      auto give = [&](size_t which) {
        Range range = mine[which];
        mine[which] = mine.back();
        mine.pop_back();
        for (uint64_t i = 0; i < range.length; ++i)
          EXPECT_EQ(owner[range.pfn - 0x1000 + i].exchange(0, std::memory_order_relaxed), id);
        iovas.free_fast(range.pfn, range.length);
      };
      for (unsigned i = 0; i < 300; ++i) {
        uint64_t length = uint64_t{1} << random() % 7;
        if (auto pfn = iovas.alloc_fast(length, 0x1fff, random() % 4 == 0 ? Flush::kYes : Flush::kNo)) {
          for (uint64_t page = 0; page < length; ++page)
            EXPECT_EQ(owner[*pfn - 0x1000 + page].exchange(id, std::memory_order_relaxed), 0u);
          mine.push_back({*pfn, length});
        }
        if (mine.size() > 3) give(random() % mine.size());
        if (i % 100 == 99) iovas.drain_cpu(random() % mm::kCpuSlots);
      }
      while (!mine.empty()) give(mine.size() - 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(iovas.stats().live, 0u);
  iovas.drain();
  EXPECT_EQ(must(iovas.alloc(0x1000, 0x1fff)), 0x1000u);  // one piece again
}

}  // namespace
}  // namespace causeway::iommu
