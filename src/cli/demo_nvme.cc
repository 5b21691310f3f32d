// The workload of the NVMe driver: a file is written and read back, with many commands in flight.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/demo.h"
#include "cli/demo_workload.h"

namespace causeway::cli {
namespace {

using drivers::nvme::NvmeStats;

// A demo has one disk.
NvmeStats disk_of(const Snapshot& snapshot) {
  return snapshot.status.nvmes.empty() ? NvmeStats{} : snapshot.status.nvmes.front().second;
}

class NvmeWorkload final : public Workload {
 public:
  const char* name() const override { return "nvme"; }
  const char* unit() const override { return "commands"; }
  bool needs_disk() const override { return true; }

  // As slow as a disk of flash, and in no order of its own: something is in flight whenever a kernel is replaced.
  std::vector<std::string> devices(const std::string& disk) const override {
    return {fmt::format("nvme,{}size={},shuffle=1,latency_us=100", disk.empty() ? "" : "file=" + disk + ",", kFileBytes)};
  }
  std::vector<std::string> command_line(const DemoOptions& options) const override {
    return {fmt::format("nvme.file={}", kFileBytes), fmt::format("nvme.depth={}", options.depth)};
  }

  Work work(const Snapshot& snapshot) const override {
    NvmeStats disk = disk_of(snapshot);
    return {.devices = snapshot.status.nvmes.size(),
            .adopted = disk.adopted,
            .done = disk.reads + disk.writes,
            .bytes = disk.verified,
            .lost = disk.lost,
            .resets = disk.device_epoch,
            .expected_resets = disk.expected_epoch,
            .blackout_ns = disk.blackout_ns,
            .completed_before = disk.completed_before,
            .completed_during = disk.completed_during_blackout,
            .completed_after = disk.completed_after};
  }

  std::vector<std::pair<const char*, uint64_t>> must_be_none(const Snapshot& snapshot) const override {
    NvmeStats disk = disk_of(snapshot);
    return {{"commands lost", disk.lost},
            {"commands completed twice", disk.duplicated},
            {"blocks corrupted", disk.corrupted},
            {"commands refused", disk.refused}};
  }

  // Between a pass that writes and one that reads few commands are in flight, and a busy host may let them wait.
  bool is_steady() const override { return false; }

  std::pair<std::string, std::string> heading() const override {
    return {fmt::format("{:>15}", "in flight"), fmt::format("{:>15}", "at takeover")};
  }
  std::string columns(const Snapshot& end) const override {
    return fmt::format("{:>15}", disk_of(end).in_flight_at_takeover);
  }

  std::vector<std::string> summary(const DemoRun& run, const Snapshot& last) const override {
    NvmeStats disk = disk_of(last);
    return {fmt::format("file       {} writes, {} reads, {:.1f} MB verified in {:.1f} s, {} whole passes, {} controller resets",
                        disk.writes, disk.reads, static_cast<double>(disk.verified) / 1e6, run.seconds, disk.passes,
                        run.resets(last)),
            fmt::format("commands   lost {}, duplicated {}, corrupted {}, refused {}", disk.lost, disk.duplicated,
                        disk.corrupted, disk.refused)};
  }

  void add_json(const DemoRun& run, const Snapshot& last, nlohmann::json& report) const override {
    NvmeStats disk = disk_of(last);
    report["reads"] = disk.reads;
    report["writes"] = disk.writes;
    report["passes"] = disk.passes;
    report["lost"] = disk.lost;
    report["duplicated"] = disk.duplicated;
    report["corrupted"] = disk.corrupted;
    report["refused"] = disk.refused;
    report["controller_resets"] = run.resets(last);
  }
  void add_update_json(const Snapshot& end, nlohmann::json& update) const override {
    update["in_flight_at_takeover"] = disk_of(end).in_flight_at_takeover;
  }

 private:
  static constexpr uint64_t kFileBytes = drivers::nvme::kDefaultFileBytes;
};

}  // namespace

const Workload& nvme_workload() {
  static const NvmeWorkload workload;
  return workload;
}

}  // namespace causeway::cli
