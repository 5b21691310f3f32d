#include "live_machine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/iommu_seen.h"
#include "cli/launch.h"
#include "program.h"
#include "server/control.h"

namespace causeway::tests {

LiveMachine::LiveMachine(Options options) : workload_(*options.workload), name_(cli::private_name()) {
  std::vector<std::string> words = workload_.command_line(
      {.workload = &workload_, .rate = options.rate, .ring = options.ring, .depth = options.depth});
  if (options.hold) words.push_back("dma_engine.overrun=hold");
  if (!options.more.empty()) words.push_back(options.more);
  command_line_ = fmt::format("{}", fmt::join(words, " "));
  auto machine = cli::launch_machine(name_, {.ram = options.ram, .devices = workload_.devices(""), .iommu = cli::machine_spec(options.iommu)}, {},
                                     &trouble_);
  if (machine) machine_ = std::move(*machine);
  has_iommu_ = options.iommu != cli::IommuMode::kOff;
}

bool LiveMachine::boot(const std::string& kernel, const std::vector<std::string>& arguments) {
  kernel_.stop();
  std::string reason;
  auto started = cli::launch_kernel(
      name_, {.program = program(kernel), .command_line = command_line_, .arguments = arguments}, {}, &reason);
  if (!started) {
    ADD_FAILURE() << reason << " " << trouble_;
    return false;
  }
  kernel_ = std::move(*started);
  return true;
}

Result<cli::LiveUpdate> LiveMachine::kexec(const std::string& target, std::string* reason) {
  return cli::live_update(kernel_socket(), target, reason);
}

void LiveMachine::kill_kernel() { kernel_.stop(); }

bool LiveMachine::kernel_ended(unsigned patience_ms) { return kernel_.wait(patience_ms); }

std::optional<cli::Snapshot> LiveMachine::status() const {
  auto snapshot = cli::take_snapshot(kernel_socket());
  if (!snapshot) return {};
  return std::move(*snapshot);
}

bool LiveMachine::wait_for_work(uint64_t more) {
  auto start = status();
  if (!start) return false;
  const uint64_t want = workload_.work(*start).done + more;
  return eventually([&] {
    auto now = status();
    return now && workload_.work(*now).done >= want;
  });
}

std::vector<std::string> LiveMachine::faults(std::optional<uint32_t> epoch) const {
  auto now = status();
  if (!now) return {"no kernel answers"};
  std::vector<std::string> found;
  auto none = [&](const char* what, uint64_t seen) {
    if (seen != 0) found.push_back(fmt::format("{}: {}, want 0", what, seen));
  };
  for (const auto& [what, seen] : workload_.must_be_none(*now)) {
    // With `hold` the device waits as long as no kernel runs.
    if (!std::string_view(what).starts_with("nanoseconds")) none(what, seen);
  }
  none("memory damaged", now->status.pressure_damaged);
  none("bad pages", now->status.pages.bad_pages);
  none("failed restores", now->status.kho.failed_restores);
  cli::Work work = workload_.work(*now);
  if (work.devices == 0) found.push_back("no device is driven");
  for (const std::string& error : now->status.driver_errors) found.push_back("driver: " + error);
  for (const std::string& problem : now->status.problems) found.push_back("problem: " + problem);
  if (has_iommu_) {
    auto machine = client();
    auto text = machine ? machine->status() : Result<std::string>(fail(machine.error()));
    if (!text) return {"the machine does not answer"};
    cli::MachineIommu iommu = cli::parse_machine_iommu(*text);
    none("accesses the IOMMU refused", iommu.sum(&cli::IommuUnit::faults));
    none("reports of the IOMMU", iommu.sum(&cli::IommuUnit::reports));
    none("times translation was switched off", iommu.sum(&cli::IommuUnit::te_off_transitions));
    for (const cli::IommuUnit& unit : iommu.units) {
      if (!unit.enabled) found.push_back("translation is off");
      for (const std::string& line : unit.fault_texts) found.push_back("fault: " + line);
      for (const std::string& line : unit.report_texts) found.push_back("report: " + line);
    }
  }
  if (epoch && work.resets != *epoch) found.push_back(fmt::format("device epoch: {}, want {}", work.resets, *epoch));
  return found;
}

Result<cli::MachineClient> LiveMachine::client() const {
  return cli::MachineClient::connect(server::machine_socket_name(name_));
}
std::string LiveMachine::kernel_socket() const { return server::kernel_socket_name(name_); }

}  // namespace causeway::tests
