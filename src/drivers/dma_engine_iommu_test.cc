// The DMA engine behind an IOMMU whose domain is handed over.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "base/log.h"
#include "base/point.h"
#include "dma/debug/debug.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/testing/boot.h"
#include "drivers/dma_engine.h"
#include "iommu/testing/domain_translation.h"

namespace causeway::drivers {
namespace {

using namespace std::chrono_literals;
using iommu::DomainType;

constexpr DmaEngineOptions kSmall{.ring_log2 = 5, .buffer_size = KiB(20), .rate = 4000, .hold = true, .recycle = 4};
const dma::testing::BootOptions kDebugged{.dma = {.debug = true}};

// An IOMMU that does not flush: what was translated once stays as it was.
class ForgetfulTranslation final : public machine::Translation {
 public:
  explicit ForgetfulTranslation(iommu::MapDomain& domain) : fresh_(domain) {}
  Run translate(Bdf bdf, DmaAddr address, uint64_t bytes, machine::Access access) override {
    const uint64_t offset = address.value() & (kPageSize - 1);
    bytes = std::min(bytes, kPageSize - offset);
    std::lock_guard lock(mutex_);
    auto [at, added] = pages_.try_emplace(address.value() >> kPageShift);
    if (added) {
      Run run = fresh_.translate(bdf, address, bytes, access);
      if (run.bytes == 0) {
        pages_.erase(at);
        return {};
      }
      at->second = run.address - offset;
    }
    return {at->second + offset, bytes};
  }

 private:
  iommu::testing::DomainTranslation fresh_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, PhysAddr> pages_;
};

struct Bench {
  explicit Bench(DomainType type = DomainType::kDma, bool flushes = true)
      : domain({.type = type}),
        translation(domain),
        forgetful(domain),
        system(kDebugged, MiB(64), {machine::DeviceSpec{}},
               flushes ? static_cast<machine::Translation*>(&translation) : &forgetful) {}
  ~Bench() { stop(); }

  platform::PciFunction function() {
    for (platform::PciFunction& found : system.platform().pci().scan())
      if (DmaEngine::matches(found)) return found;
    std::abort();
  }
  Status start(const DmaEngineOptions& options = kSmall) {
    mappings = must(dma::IommuDma::create(system.dma(), domain,
                                          {.restored = true, .leaves = [this](auto visit) { domain.for_each_leaf(visit); }}));
    mappings->set_preserved(domain_preserved);
    driver = must(DmaEngine::probe({system.platform(), system.dma(), system.kho(), mappings.get()}, function(), options));
    system.platform().interrupts().start();
    const bool early = driver->adopted() && driver->may_start_before_commit();
    if (early) must(driver->start());
    Status preserved = driver->preserve();
    must(system.kho().commit(system.platform().mailbox(), hw::HandoverKind::kStanding, 1));
    driver->handover_committed();
    released = mappings->release_unclaimed();
    if (!early) must(driver->start());
    return preserved;
  }
  void stop() {
    if (driver) system.platform().interrupts().stop();
    driver.reset();
    mappings.reset();
    EXPECT_EQ(system.dma().debug()->errors(), 0u) << system.dma().debug()->dump();
  }
  void kexec() {
    driver->freeze();
    stop();
    system.kexec(kDebugged);
  }
  void crash() {
    stop();
    system.crash(kDebugged);
  }
  bool advances(uint64_t records = 40) {
    uint64_t want = driver->stats().records + records;
    for (int i = 0; i < 2000 && driver->stats().records < want; ++i) std::this_thread::sleep_for(2ms);
    return driver->stats().records >= want;
  }
  void expect_clean() {
    DmaEngineStats stats = driver->stats();
    EXPECT_EQ(stats.lost + stats.replayed + stats.corrupted + stats.refused + stats.work_failed, 0u);
    EXPECT_EQ(stats.device_epoch, stats.expected_epoch);
  }

  log::Capture quiet;
  iommu::MapDomain domain;
  iommu::testing::DomainTranslation translation;
  ForgetfulTranslation forgetful;
  dma::testing::System system;
  std::unique_ptr<dma::IommuDma> mappings;
  std::unique_ptr<DmaEngine> driver;
  bool domain_preserved = true;
  uint64_t released = 0;
};

TEST(DmaEngineIommu, StreamsThroughTwentyUpdates) {
  for (DomainType type : {DomainType::kDma, DomainType::kDmaFq}) {
    Bench t(type);
    must(t.start());
    for (int update = 0; update < 20; ++update) {
      ASSERT_TRUE(t.advances());
      must(t.driver->self_test());
      if (update % 2 == 0) {
        t.kexec();
      } else {
        t.crash();
      }
      must(t.start());
      ASSERT_TRUE(t.driver->stats().adopted);
      EXPECT_EQ(t.released, 0u);
    }
    ASSERT_TRUE(t.advances());
    t.expect_clean();
    t.driver->shutdown();
    t.mappings->drain();
    EXPECT_EQ(t.domain.counts().mapped_bytes, 0u);
    EXPECT_EQ(t.mappings->stats().mapped, 0u);
  }
}

TEST(DmaEngineIommu, KilledAtAnyPointOfATakeoverTheNextGoesOn) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  struct Killed {};
  Bench t;
  must(t.start());
  unsigned deaths = 0;
  for (const point::Point* step : point::list()) {
    const std::string_view name = step->name;
    if (step->kind != point::Kind::kObserve) continue;
    if (!name.starts_with("drivers.dma_engine.") && !name.starts_with("drivers.stream.restore") &&
        !name.starts_with("drivers.stream.preserve") && !name.starts_with("dma.restore.") &&
        !name.starts_with("dma.iommu.") && !name.starts_with("dma.preserve."))
      continue;
    SCOPED_TRACE(name);
    ASSERT_TRUE(t.advances(20));
    t.crash();
    const std::thread::id here = std::this_thread::get_id();
    must(point::on_hit(name, [here]() -> Status {
      if (std::this_thread::get_id() == here) throw Killed{};
      return {};
    }));
    try {
      must(t.start());
    } catch (const Killed&) {
      ++deaths;
    }
    point::disarm_all();
    t.crash();
    must(t.start());
    ASSERT_TRUE(t.driver->stats().adopted);
  }
  EXPECT_GE(deaths, 10u);
  ASSERT_TRUE(t.advances());
  t.expect_clean();
  t.driver->shutdown();
  t.mappings->drain();
  EXPECT_EQ(t.domain.counts().mapped_bytes, 0u);
}

TEST(DmaEngineIommu, ItsSelfTestMapsAndUnmaps) {
  Bench t;
  must(t.start());
  const uint64_t maps = t.domain.counts().maps;
  const uint64_t mapped = t.domain.counts().mapped_bytes;
  for (int i = 0; i < 20; ++i) must(t.driver->self_test());
  EXPECT_GE(t.domain.counts().maps, maps + 40);
  EXPECT_EQ(t.domain.counts().mapped_bytes, mapped);
  t.expect_clean();
}

// What the self test is for: a device that goes on using a translation that was taken from it.
TEST(DmaEngineIommu, ItsSelfTestFindsAnIommuThatDoesNotFlush) {
  Bench t(DomainType::kDma, false);
  must(t.start());
  EXPECT_EQ(error_of(t.driver->self_test()), EIO);
  EXPECT_EQ(t.driver->stats().work_failed, 1u);
}

TEST(DmaEngineIommu, WithoutAPreservedDomainItStopsAtALiveUpdate) {
  Bench t;
  t.domain_preserved = false;
  EXPECT_EQ(error_of(t.start()), EOPNOTSUPP);
  ASSERT_TRUE(t.advances());
  t.driver->freeze();
  EXPECT_FALSE(t.function().bus_master());
  t.driver->thaw();
  ASSERT_TRUE(t.advances());
  t.kexec();
  // The next kernel sets it up anew, with a domain of its own.
  iommu::Gather gather;
  for (uint64_t page = 0; page < 1 << 20; ++page) t.domain.unmap(Iova(page << kPageShift), kPageSize, gather);
  t.domain.sync(gather);
  t.domain_preserved = true;
  must(t.start());
  EXPECT_FALSE(t.driver->stats().adopted);
  ASSERT_TRUE(t.advances());
  t.expect_clean();
}

// A buffer whose mapping is gone is not adopted, and the engine does not write through what is left.
TEST(DmaEngineIommu, ABufferThatIsNotMappedAnyMoreIsRefused) {
  Bench t;
  must(t.start());
  ASSERT_TRUE(t.advances());
  t.kexec();
  uint64_t buffer = 0;
  t.domain.for_each_leaf([&](const iommu::IoPageTable::Leaf& leaf) {
    buffer = leaf.iova.value();
    return false;
  });
  iommu::Gather gather;
  ASSERT_EQ(t.domain.unmap(Iova(buffer), kPageSize, gather), kPageSize);
  t.mappings = must(dma::IommuDma::create(
      t.system.dma(), t.domain, {.restored = true, .leaves = [&](auto visit) { t.domain.for_each_leaf(visit); }}));
  auto refused = DmaEngine::probe({t.system.platform(), t.system.dma(), t.system.kho(), t.mappings.get()}, t.function(), kSmall);
  EXPECT_EQ(error_of(refused), ERANGE);
  EXPECT_FALSE(t.function().bus_master());
}

}  // namespace
}  // namespace causeway::drivers
