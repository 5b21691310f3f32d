// A kernel is killed at every named point between the start of preserve and the end of restore; then
// another one boots. What the device does must be whole, and no page of it in anybody else's hands.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <sstream>

#include "live_machine.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::IsEmpty;

constexpr unsigned kShards = 3;
// Long enough for recycling and the self test, which go on for a while after the boot.
constexpr unsigned kAfterBootMs = 150;

bool is_of_nvme(std::string_view point) { return point.starts_with("drivers.nvme."); }
bool is_of_iommu(std::string_view point) {
  return point.starts_with("iommu.") || point.starts_with("dma.iommu.") || point.starts_with("kernel.iommu.");
}

struct Matrix {
  const char* name;
  unsigned hit;        // the kernel dies when it comes by the point for the hit-th time
  const char* format;  // of the handover
  const cli::Workload& (*workload)() = cli::stream_workload;
  cli::IommuMode iommu = cli::IommuMode::kOff;
  friend void PrintTo(const Matrix& self, std::ostream* out) { *out << self.name; }

  // With an IOMMU its own points, else the NVMe driver's own, or all but those.
  bool has(std::string_view point) const {
    if (is_of_iommu(point)) return iommu != cli::IommuMode::kOff;
    return iommu == cli::IommuMode::kOff && is_of_nvme(point) == (workload == cli::nvme_workload);
  }
};
constexpr Matrix kMatrices[] = {
    {"FirstHit", 1, "v4"},
    {"FourthHit", 4, "v4"},
    {"FirstHitTyped", 1, "typed"},
    {"NvmeFirstHit", 1, "v4", cli::nvme_workload},
    {"NvmeFortiethHit", 40, "v4", cli::nvme_workload},
    {"IommuFirstHit", 1, "v4", cli::stream_workload, cli::IommuMode::kLegacy},
    {"IommuNvmeFirstHit", 1, "v4", cli::nvme_workload, cli::IommuMode::kScalable},
};

std::vector<std::string> points_of_shard(const Matrix& matrix, unsigned shard) {
  Finished list = run({program("causeway-kernel"), "--list-points"});
  EXPECT_EQ(list.status, 0) << list.err;
  std::istringstream lines(list.out);
  std::vector<std::string> points;
  unsigned number = 0;
  for (std::string point; std::getline(lines, point);) {
    if (matrix.has(point) && number++ % kShards == shard) points.push_back(point);
  }
  return points;
}

enum class Outcome { kKilled, kNotReached };

// Kernel 1 streams; kernel 2, where the point is armed, takes over, works a while, and freezes for
// kernel 3: it is killed somewhere on that way, or does not come by the point at all.
Outcome kill_at(LiveMachine& machine, const std::string& point, unsigned hit) {
  std::string reason;
  auto armed =
      machine.kexec(fmt::format("{} --point {}=kill:{}", program("causeway-kernel-next"), point, hit), &reason);
  if (!armed || machine.kernel_ended(kAfterBootMs)) return Outcome::kKilled;
  auto third = machine.kexec(program("causeway-kernel"), &reason);
  return third ? Outcome::kNotReached : Outcome::kKilled;
}

class KillPoints : public ::testing::TestWithParam<std::tuple<Matrix, unsigned>> {};

TEST_P(KillPoints, WorkSurvivesAKernelKilledAtEachOfThem) {
  const auto& [matrix, shard] = GetParam();
  const cli::Workload& workload = matrix.workload();
  std::vector<std::string> points = points_of_shard(matrix, shard);
  std::vector<std::string> not_reached;
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    LiveMachine machine(
        {.workload = &workload,
         .iommu = matrix.iommu,
         .more = fmt::format("dma_engine.recycle=8 memory_pressure=256 ballast=32 kho_format={}", matrix.format)});
    ASSERT_TRUE(machine.boot()) << machine.trouble();
    ASSERT_TRUE(machine.wait_for_work(20));
    const uint32_t epoch = machine.work().resets;

    if (kill_at(machine, point, matrix.hit) == Outcome::kNotReached) {
      not_reached.push_back(point);
    } else {
      ASSERT_TRUE(machine.kernel_ended(10000));
      EXPECT_EQ(machine.how_kernel_ended(), "killed by SIGKILL");
      ASSERT_TRUE(machine.boot("causeway-kernel-next"));
      EXPECT_TRUE(machine.work().adopted);
    }
    // Once round the ring, so that every buffer has been written to again.
    EXPECT_TRUE(machine.wait_for_work(100)) << "the device stands still";
    EXPECT_THAT(machine.faults(epoch), IsEmpty());
    if (HasFailure()) break;
  }
  std::string list = fmt::format("{}", fmt::join(not_reached, " "));
  RecordProperty("not_reached", list);
  fmt::print("killed at {} points, not reached: {}\n", points.size() - not_reached.size(), list);
  EXPECT_GE(points.size(), 7u);
  if (matrix.hit == 1) {
    EXPECT_GE(points.size() - not_reached.size(), points.size() / 2) << "not reached: " << list;
  }
}
INSTANTIATE_TEST_SUITE_P(All, KillPoints,
                         ::testing::Combine(::testing::ValuesIn(kMatrices), ::testing::Range(0u, kShards)),
                         [](const auto& param) {
                           return fmt::format("{}_{}", std::get<0>(param.param).name, std::get<1>(param.param));
                         });

// Killed anywhere, not only where somebody thought of it.
class KillAnywhere : public ::testing::TestWithParam<LiveMachine::Options> {};

TEST_P(KillAnywhere, WorkSurvivesKernelsKilledAtOddMoments) {
  LiveMachine machine(GetParam());
  ASSERT_TRUE(machine.boot()) << machine.trouble();
  ASSERT_TRUE(machine.wait_for_work(20));
  const uint32_t epoch = machine.work().resets;
  for (unsigned i = 0; i < 12; ++i) {
    SCOPED_TRACE(i);
    sleep_ms(i * 3);
    machine.kill_kernel();
    ASSERT_TRUE(machine.boot(i % 2 == 0 ? "causeway-kernel-next" : "causeway-kernel"));
    auto now = machine.status();
    ASSERT_TRUE(now);
    EXPECT_EQ(now->status.boot, kernel::BootKind::kTakeover);
  }
  EXPECT_TRUE(machine.wait_for_work(100));
  EXPECT_THAT(machine.faults(epoch), IsEmpty());
}
const LiveMachine::Options kSystems[] = {
    {},
    {.iommu = cli::IommuMode::kLegacy},
    {.workload = &cli::nvme_workload(), .iommu = cli::IommuMode::kScalable},
};
INSTANTIATE_TEST_SUITE_P(All, KillAnywhere, ::testing::ValuesIn(kSystems), [](const auto& param) {
  return fmt::format("{}_{}", param.param.workload->name(), cli::name_of(param.param.iommu));
});

}  // namespace
}  // namespace causeway::tests
