// For tests: a machine with a remapping unit, a disk and two engines, and the kernels that run on it, in this process.
//
//   class SomeTest : public testing::RemappedMachine {};
//   TEST_P(SomeTest, GoesOn) {
//     boot();
//     ASSERT_TRUE(work_advances());
//     live_update();
//     expect_work_intact();
//   }
//   INSTANTIATE_TEST_SUITE_P(All, SomeTest, ::testing::ValuesIn(testing::kUnitModes), testing::name_of_mode);
#pragma once

#include <gtest/gtest.h>

#include <charconv>
#include <chrono>
#include <ostream>
#include <string>
#include <thread>

#include "base/log.h"
#include "kernel/kernel.h"
#include "machine/machine.h"

namespace causeway::kernel::testing {

inline constexpr char kSmall[] =
    "dma_engine.ring=64 dma_engine.rate=2000 dma_engine.overrun=hold memory_pressure=64 nvme.file=262144 dma_debug=on";

struct UnitMode {
  const char* name;
  machine::IommuSpec unit;
  const char* words;
  friend void PrintTo(const UnitMode& self, std::ostream* out) { *out << self.name; }
};
inline const UnitMode kUnitModes[] = {
    {"Legacy", {}, ""},
    {"LegacyStrict", {}, " iommu.strict=1"},
    {"Scalable", {.scalable = true}, ""},
    {"ScalableSecondStage", {.scalable = true, .first_stage = false}, ""},
    {"CachingMode", {.caching_mode = true}, " iommu.strict=1"},
};

class RemappedMachine : public ::testing::TestWithParam<UnitMode> {
 protected:
  void SetUp() override {
    machine::MachineConfig config{.ram = MiB(256)};
    config.devices = {{.bdf = Bdf(0, 1, 0)},
                      {.kind = machine::DeviceKind::kNvme, .bdf = Bdf(0, 2, 0), .nvme = {.size = MiB(16), .queues = 2}},
                      {.bdf = Bdf(0, 30, 0)}};
    config.iommus = {GetParam().unit};
    auto machine = machine::Machine::create(config);
    ASSERT_TRUE(machine) << to_string(machine.error());
    machine_ = std::move(*machine);
  }
  void TearDown() override { kernel_.reset(); }

  void boot(const std::string& more = {}) {
    std::string problem;
    auto params = parse_command_line(std::string(kSmall) + GetParam().words + more, &problem);
    ASSERT_TRUE(params) << problem;
    auto kernel = Kernel::boot(machine_->connect(), *params);
    ASSERT_TRUE(kernel) << to_string(kernel.error());
    kernel_ = std::move(*kernel);
  }
  void live_update(const std::string& more = {}) {
    Status frozen = kernel_->freeze();
    ASSERT_TRUE(frozen) << to_string(frozen.error());
    kernel_.reset();
    boot(more);
  }

  // A number of the machine's about its unit.
  uint64_t unit(std::string_view name) const {
    std::string text = machine_->status();
    std::string line = fmt::format("\niommu0.{}=", name);
    size_t at = text.find(line);
    if (at == std::string::npos) return ADD_FAILURE() << "no " << name << " in\n" << text, 0;
    uint64_t value = 0;
    std::from_chars(text.data() + at + line.size(), text.data() + text.size(), value);
    return value;
  }
  std::string complaints() const {
    std::string text = machine_->status(), found;
    for (size_t at = 0; at < text.size();) {
      size_t end = std::min(text.find('\n', at), text.size());
      std::string line = text.substr(at, end - at);
      if (line.starts_with("iommu0.report.") || line.starts_with("iommu0.fault.")) found += line + "\n";
      at = end + 1;
    }
    return found;
  }
  uint64_t records() const {
    uint64_t sum = 0;
    for (const auto& [bdf, engine] : kernel_->status().engines) sum += engine.records;
    return sum;
  }
  uint64_t commands() const {
    uint64_t sum = 0;
    for (const auto& [bdf, nvme] : kernel_->status().nvmes) sum += nvme.reads + nvme.writes;
    return sum;
  }
  template <typename Condition>
  static bool eventually(const Condition& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  bool work_advances(uint64_t count = 50) const {
    uint64_t records_then = records(), commands_then = commands();
    return eventually([&] { return records() >= records_then + count && commands() >= commands_then + count; });
  }
  void expect_work_intact() const {
    KernelStatus status = kernel_->status();
    for (const auto& [bdf, engine] : status.engines) {
      EXPECT_EQ(engine.lost + engine.replayed + engine.corrupted + engine.refused + engine.work_failed, 0u) << bdf;
      EXPECT_EQ(engine.device_epoch, engine.expected_epoch) << bdf;
    }
    for (const auto& [bdf, nvme] : status.nvmes) {
      EXPECT_EQ(nvme.lost + nvme.duplicated + nvme.corrupted + nvme.refused + nvme.late, 0u) << bdf;
      EXPECT_EQ(nvme.device_epoch, nvme.expected_epoch) << bdf;
    }
    for (const std::string& problem : status.problems) ADD_FAILURE() << problem;
    for (const std::string& error : status.driver_errors) ADD_FAILURE() << error;
    EXPECT_EQ(unit("enabled"), 1u);
    EXPECT_EQ(unit("faults"), 0u) << complaints();
    EXPECT_EQ(unit("reports"), 0u) << complaints();
    EXPECT_EQ(unit("te_off_transitions"), 0u);
  }

  log::Capture quiet_;
  std::unique_ptr<machine::Machine> machine_;
  std::unique_ptr<Kernel> kernel_;
};

inline std::string name_of_mode(const ::testing::TestParamInfo<UnitMode>& info) { return info.param.name; }

}  // namespace causeway::kernel::testing
