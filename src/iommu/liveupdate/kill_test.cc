// The promise of the standing carrier: a kernel that is killed at any named point of a life leaves arrays that the next one
// takes over, with every table behind them.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>
#include <string>

#include "base/log.h"
#include "base/point.h"
#include "iommu/liveupdate/incoming_arrays.h"
#include "iommu/liveupdate/testing/system.h"

#if CW_POINTS
namespace causeway::iommu::testing {
namespace {

constexpr uint64_t kDisk = 0x10'0000;
constexpr uint64_t kNic = 0x20'0000;
constexpr uint64_t kLate = 0x40'0000;

void first_life(System& system) {
  must(system->hand_over(system->device(1), kDisk));
  must(system->hand_over(system->device(2), kNic));
  system->commit();
}

// Takes over, hands over again, and then changes what stands in every way there is.
void second_life(System& system) {
  Kernel& kernel = *system;
  LiveUpdate& live_update = kernel.live_update;
  must(std::move(kernel.retrieved));
  Device &disk = kernel.device(1), &nic = kernel.device(2);
  must(kernel.hand_over_again(disk));
  must(kernel.hand_over_again(nic));
  live_update.release(Carrier::kStanding);
  kernel.commit();
  Domain& domain = kernel.domain_of(disk);
  for (unsigned i = 2; i < 5; ++i) must(domain.map(Iova(i * kPageSize), PhysAddr(kDisk + i * kPageSize), kPageSize, kRead));
  Device& late = kernel.device(Bdf(7, 0, 0));
  must(kernel.hand_over(late, kLate));
  // As often as it takes to fill a page of records.
  for (int i = 0; i < 60; ++i) {
    live_update.unpreserve_device(nic);
    live_update.unpreserve_domain(kernel.domain_of(nic));
    must(kernel.hand_over_again(nic));
  }
  must(live_update.create(Carrier::kSession));
  Device& guest = kernel.device(5);
  Domain& own = kernel.unmanaged(guest, &kernel);
  must(live_update.preserve_domain(Carrier::kSession, own));
  must(live_update.preserve_device(Carrier::kSession, own, guest, 7));
  live_update.destroy(Carrier::kSession);
  live_update.unpreserve_device(late);
  live_update.unpreserve_domain(kernel.domain_of(late));
  live_update.unpreserve_device(nic);
  live_update.unpreserve_device(disk);
  live_update.unpreserve_domain(domain);
}

// Whatever counts is whole, whether or not a device leads to it.
void expect_whole(System& system) {
  const IncomingArrays arrays = must(read_arrays(system->pages, *system->incoming));
  for (PhysAddr phys : arrays.chains[static_cast<size_t>(RecordKind::kDomain)]) {
    auto* page = system.machine().at<abi::IommuArrayHdrSer>(phys);
    for (uint64_t i = 0; i < page->nr_objects; ++i) {
      const auto* domain = static_cast<abi::DomainSer*>(slot_in(page, RecordKind::kDomain, i));
      if ((domain->hdr.flags & abi::kDeleted) != 0) continue;
      const kho::Kho& kho = *system->generation.kho;
      EXPECT_EQ(kho.preserved_order(PhysAddr(domain->top_table_phys)), kOrder0) << "record " << i;
      const auto* top = system.machine().at<uint64_t>(PhysAddr(domain->top_table_phys));
      for (; *top != 0; ++top) EXPECT_EQ(kho.preserved_order(PhysAddr(*top)), kOrder0) << "record " << i;
    }
  }
}

int run_killed(System& system, const std::string& armed) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!point::arm(armed).has_value()) ::_exit(3);
    system.crash();
    second_life(system);
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST(LiveUpdateKill, AtEveryPointTheNextKernelTakesOver) {
  log::set_sink([](const log::Record&) {});
  // How often each point is passed in an undisturbed life.
  std::map<std::string, uint64_t> hits;
  {
    System system;
    first_life(system);
    for (const point::Point* each : point::list())
      must(point::on_hit(each->name, [&count = hits[each->name]] { return ++count, Status{}; }));
    system.crash();
    second_life(system);
    point::disarm_all();
  }
  unsigned points = 0, kills = 0, without_disk = 0, without_nic = 0, with_late = 0;
  for (const auto& [name, count] : hits) {
    const bool ours = name.starts_with("iommu.state.") || name.starts_with("iommu.live_update.");
    const bool below = name.starts_with("kho.preserve.") || name.starts_with("kho.unpreserve.") ||
                       name.starts_with("kho.restore.") || name.starts_with("kho.commit.") ||
                       name.starts_with("iommu.take_over.");
    if (count == 0 || !(ours || below)) continue;
    points += ours;
    // The last ones are where everything is given up.
    for (uint64_t hit : std::set<uint64_t>{1, 2, count / 3 + 1, count / 2 + 1, count - 3, count - 2, count - 1, count}) {
      if (hit == 0 || hit > count) continue;
      const std::string armed = name + "=kill:" + std::to_string(hit);
      SCOPED_TRACE(armed);
      System system;
      first_life(system);
      system.die();
      const int status = run_killed(system, armed);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
      system.crash({.retrieve = false});
      ASSERT_NO_FATAL_FAILURE(expect_whole(system));
      ASSERT_EQ(error_of(system->live_update.retrieve(Carrier::kStanding, *system->incoming)), 0);
      // One that was being given up, or handed over, comes back whole or not at all.
      const bool disk = system->live_update.find_device(0, Bdf(0, 1, 0)) != nullptr;
      const bool nic = system->live_update.find_device(0, Bdf(0, 2, 0)) != nullptr;
      const bool late = system->live_update.find_device(0, Bdf(7, 0, 0)) != nullptr;
      EXPECT_EQ(system->translates(system->device(1), kDisk), disk);
      EXPECT_EQ(system->translates(system->device(2), kNic), nic);
      EXPECT_EQ(system->translates(system->device(Bdf(7, 0, 0)), kLate), late);
      EXPECT_EQ(system->live_update.find_device(0, Bdf(0, 5, 0)), nullptr);
      ++kills, without_disk += !disk, without_nic += !nic;
      with_late += late;
      EXPECT_TRUE(system->live_update.damage().empty());
      // And goes on: what it has taken over it hands over.
      if (disk) must(system->hand_over_again(system->device(1)));
      system->live_update.release(Carrier::kStanding);
      system.kexec();
      EXPECT_EQ(system->translates(system->device(1), kDisk), disk);
    }
  }
  log::set_sink({});
  EXPECT_GE(points, 14u);
  EXPECT_GT(without_nic, 0u);
  EXPECT_GT(without_disk, 0u);  // given up last of all
  EXPECT_LT(without_disk, kills / 4);
  EXPECT_GT(with_late, 0u);
}

}  // namespace
}  // namespace causeway::iommu::testing
#endif
