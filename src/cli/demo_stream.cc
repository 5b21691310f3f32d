// The workload of the DMA engine: it receives checksummed records into the driver's buffers.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/demo.h"
#include "cli/demo_workload.h"

namespace causeway::cli {
namespace {

double ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

uint64_t refused(const drivers::DmaEngineStats& total) { return std::max(total.refused, total.device_refused); }

class StreamWorkload final : public Workload {
 public:
  const char* name() const override { return "stream"; }
  const char* unit() const override { return "records"; }

  std::vector<std::string> devices(const std::string&) const override { return {}; }
  std::vector<std::string> command_line(const DemoOptions& options) const override {
    std::vector<std::string> words;
    if (options.rate) words.push_back(fmt::format("dma_engine.rate={}", *options.rate));
    if (options.ring) words.push_back(fmt::format("dma_engine.ring={}", *options.ring));
    return words;
  }

  Work work(const Snapshot& snapshot) const override {
    drivers::DmaEngineStats total = snapshot.total();
    return {.devices = snapshot.status.engines.size(),
            .adopted = total.adopted,
            .done = total.records,
            .bytes = total.bytes,
            .lost = total.lost,
            .resets = total.device_epoch,
            .expected_resets = total.expected_epoch,
            .blackout_ns = total.blackout_ns,
            .completed_before = total.completed_before,
            .completed_during = total.completed_during,
            .completed_after = total.completed_after};
  }

  std::vector<std::pair<const char*, uint64_t>> must_be_none(const Snapshot& snapshot) const override {
    drivers::DmaEngineStats total = snapshot.total();
    return {{"records lost", total.lost},
            {"records corrupted", total.corrupted},
            {"records replayed", total.replayed},
            {"transfers refused", refused(total)},
            {"records dropped by the device", total.device_dropped},
            // The device's gap may be its own pacing and lateness; what makes it wait for us has a counter of its own.
            {"nanoseconds the device waited for a buffer", total.device_starved_ns},
            {"work descriptors failed", total.work_failed}};
  }

  std::pair<std::string, std::string> heading() const override {
    return {fmt::format("{:^15}", "device gap ms"), fmt::format("{:>7} {:>7}", "longest", "(late)")};
  }
  std::string columns(const Snapshot& end) const override {
    drivers::DmaEngineStats total = end.total();
    return fmt::format("{:>7.2f} {:>7.2f}", ms(total.device_max_gap_ns), ms(total.device_max_late_ns));
  }

  std::vector<std::string> summary(const DemoRun& run, const Snapshot& last) const override {
    drivers::DmaEngineStats total = last.total();
    return {fmt::format("stream     {} records, {:.1f} MB verified in {:.1f} s, {} device resets, {} buffers recycled",
                        total.records, static_cast<double>(total.bytes) / 1e6, run.seconds, run.resets(last),
                        sum_of_recycled(run)),
            fmt::format("records    lost {}, corrupted {}, refused {}, replayed {}, dropped {}", total.lost,
                        total.corrupted, refused(total), total.replayed, total.device_dropped)};
  }

  void add_json(const DemoRun& run, const Snapshot& last, nlohmann::json& report) const override {
    drivers::DmaEngineStats total = last.total();
    report["records"] = total.records;
    report["lost"] = total.lost;
    report["corrupted"] = total.corrupted;
    report["refused"] = refused(total);
    report["replayed"] = total.replayed;
    report["dropped"] = total.device_dropped;
    report["stream_resets"] = run.resets(last);
    report["buffers_recycled"] = sum_of_recycled(run);
  }
  void add_update_json(const Snapshot& end, nlohmann::json& update) const override {
    drivers::DmaEngineStats total = end.total();
    update["device_max_gap_ms"] = ms(total.device_max_gap_ns);
    update["device_max_late_ms"] = ms(total.device_max_late_ns);
  }

 private:
  // Every generation counts its own.
  static uint64_t sum_of_recycled(const DemoRun& run) {
    uint64_t sum = 0;
    run.for_each_generation([&](const Snapshot& end) { sum += end.total().recycled; });
    return sum;
  }
};

}  // namespace

const Workload& stream_workload() {
  static const StreamWorkload workload;
  return workload;
}

const Workload* find_workload(std::string_view name) {
  for (const Workload* workload : {&stream_workload(), &nvme_workload()})
    if (name == workload->name()) return workload;
  return nullptr;
}

}  // namespace causeway::cli
