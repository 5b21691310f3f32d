#include "live_machine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/launch.h"
#include "program.h"
#include "server/control.h"

namespace causeway::tests {

LiveMachine::LiveMachine(Options options) : name_(cli::private_name()) {
  command_line_ = fmt::format("dma_engine.ring={} dma_engine.rate={} dma_engine.overrun={}{}{}", options.ring,
                              options.rate, options.hold ? "hold" : "drop", options.more.empty() ? "" : " ",
                              options.more);
  auto machine = cli::launch_machine(name_, {.ram = options.ram, .devices = {}}, {}, &trouble_);
  if (machine) machine_ = std::move(*machine);
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

bool LiveMachine::wait_for_records(uint64_t more) {
  auto start = status();
  if (!start) return false;
  const uint64_t want = start->total().records + more;
  return eventually([&] {
    auto now = status();
    return now && now->total().records >= want;
  });
}

std::vector<std::string> LiveMachine::faults(std::optional<uint32_t> epoch) const {
  auto now = status();
  if (!now) return {"no kernel answers"};
  std::vector<std::string> found;
  auto none = [&](const char* what, uint64_t seen) {
    if (seen != 0) found.push_back(fmt::format("{}: {}, want 0", what, seen));
  };
  drivers::DmaEngineStats total = now->total();
  none("lost", total.lost);
  none("corrupted", total.corrupted);
  none("replayed", total.replayed);
  none("refused", total.refused + total.device_refused);
  none("dropped", total.device_dropped);
  none("memory damaged", now->status.pressure_damaged);
  none("bad pages", now->status.pages.bad_pages);
  none("failed restores", now->status.kho.failed_restores);
  if (now->status.engines.empty()) found.push_back("no device is driven");
  for (const std::string& error : now->status.driver_errors) found.push_back("driver: " + error);
  for (const std::string& problem : now->status.problems) found.push_back("problem: " + problem);
  if (epoch && total.device_epoch != *epoch)
    found.push_back(fmt::format("device epoch: {}, want {}", total.device_epoch, *epoch));
  return found;
}

Result<cli::MachineClient> LiveMachine::client() const {
  return cli::MachineClient::connect(server::machine_socket_name(name_));
}
std::string LiveMachine::kernel_socket() const { return server::kernel_socket_name(name_); }

}  // namespace causeway::tests
