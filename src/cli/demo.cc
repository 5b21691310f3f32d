#include "cli/demo.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.h"
#include "cli/brief.h"
#include "cli/demo_disk.h"
#include "cli/launch.h"
#include "cli/live_update.h"
#include "cli/machine_client.h"
#include "cli/programs.h"

namespace causeway::cli {
namespace {

constexpr double kNsPerSecond = 1e9;
constexpr uint64_t kPollNs = 100'000'000;
// What the machine does wrong, it does to this transfer from the start: early enough for any demo.
constexpr uint64_t kFaultyTransfer = 50;

void sleep_until(uint64_t when_ns) {
  timespec time{static_cast<time_t>(when_ns / 1'000'000'000), static_cast<long>(when_ns % 1'000'000'000)};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) {
  }
}

class Demo {
 public:
  Demo(const DemoOptions& options, Progress& progress)
      : options_(options), progress_(progress), name_(private_name()),
        kernel_socket_(server::kernel_socket_name(name_)) {
    run_.workload = options.workload;
    run_.wanted_updates = options.updates;
    run_.iommu_mode = options.iommu;
  }

  DemoRun run() {
    if (power_on()) {
      start_ns_ = monotonic_ns();
      stream();
      look_at_the_end();
      power_off();
    }
    progress_.clear();
    return std::move(run_);
  }

 private:
  bool failed(std::string what) {
    run_.failures.push_back(std::move(what));
    return false;
  }

  bool power_on() {
    progress_.show("starting the machine");
    const Child::Options child{.life = Child::Life::kWithParent, .share_stderr = options_.verbose, .log_file = ""};
    std::string reason;
    std::string disk;
    if (options_.workload->needs_disk()) {
      disk_.reset(::memfd_create("demo-disk", MFD_CLOEXEC));
      if (!disk_) return failed("no memory for a disk");
      disk = fmt::format("/proc/{}/fd/{}", ::getpid(), disk_.get());
    }
    auto machine = launch_machine(
        name_,
        {.ram = options_.ram, .devices = demo_devices(options_, disk), .iommu = machine_spec(options_.iommu)}, child,
        &reason);
    if (!machine) return failed(reason);
    machine_ = std::move(*machine);
    if (options_.sabotage != nullptr && done_by_machine(*options_.sabotage) && !inject()) return false;
    progress_.show("booting the first kernel");
    auto kernel = launch_kernel(
        name_, {.program = "", .command_line = demo_command_line(options_), .arguments = {}}, child, &reason);
    if (!kernel) return failed(reason);
    kernel_ = std::move(*kernel);
    auto first = take_snapshot(kernel_socket_);
    if (!first) return failed("the first kernel does not tell its status: " + brief(first.error()));
    run_.first = std::move(*first);
    begin_iommu_generation(run_.first->status.generation);
    return true;
  }

  bool inject() {
    auto machine = MachineClient::connect(server::machine_socket_name(name_));
    if (!machine) return failed("the machine does not answer: " + brief(machine.error()));
    auto armed = machine->inject(options_.sabotage->fault, kFaultyTransfer);
    if (!armed) return failed("cannot arm the fault: " + brief(armed.error()));
    return true;
  }

  // The updates divide the time evenly: something streams before the first and after the last.
  void stream() {
    const double step = options_.seconds * kNsPerSecond / (options_.updates + 1);
    for (unsigned number = 1; number <= options_.updates; ++number) {
      if (!watch_until(start_ns_ + static_cast<uint64_t>(step * number))) return;
      if (!update(number)) return;
    }
    watch_until(start_ns_ + static_cast<uint64_t>(options_.seconds * kNsPerSecond));
  }

  // False: the kernel is gone.
  bool watch_until(uint64_t end_ns) {
    for (uint64_t now; (now = monotonic_ns()) < end_ns;) {
      sleep_until(std::min(end_ns, now + kPollNs));
      auto snapshot = take_snapshot(kernel_socket_);
      if (!snapshot) return failed(fmt::format("the kernel died while it ran ({})", death_of_kernel()));
      show_progress(*snapshot);
    }
    return true;
  }

  bool update(unsigned number) {
    std::string reason;
    auto running = program_of_process(kernel_.pid());
    if (!running) return failed(fmt::format("update {}: the kernel died ({})", number, death_of_kernel()));
    end_iommu_generation();
    auto target = program_path(other_kernel(*running));
    if (!target) return failed(fmt::format("update {}: no second kernel beside the causeway program", number));
    auto done = live_update(kernel_socket_, *target, &reason);
    if (!done) {
      std::string how = death_of_kernel();
      return failed(fmt::format("update {}: {}{}", number, reason, how.empty() ? "" : fmt::format(" ({})", how)));
    }
    if (!run_.updates.empty()) run_.updates.back().end = done->before;
    run_.updates.push_back({std::move(done->before), done->after, done->after});
    begin_iommu_generation(run_.updates.back().after.status.generation);
    show_progress(run_.updates.back().after);
    return true;
  }

  std::string death_of_kernel() {
    kernel_.wait(1000);
    return kernel_.how_it_ended();
  }

  void show_progress(const Snapshot& now) {
    Work work = options_.workload->work(now);
    uint64_t ns = now.taken_ns - start_ns_;
    uint64_t since = now.taken_ns - last_shown_ns_;
    double rate = last_shown_ns_ == 0 || since == 0 ? 0 : static_cast<double>(work.bytes - last_bytes_) * 1e3 /
                                                              static_cast<double>(since);
    last_shown_ns_ = now.taken_ns;
    last_bytes_ = work.bytes;
    progress_.show(fmt::format("{:5.1f} s  update {}/{}  kernel {:<12}  {} {}  {:.0f} MB/s  blackout {:.2f} ms  lost {}",
                               static_cast<double>(ns) / kNsPerSecond, run_.updates.size(), options_.updates,
                               now.status.release, work.done, options_.workload->unit(), rate,
                               static_cast<double>(work.blackout_ns) / 1e6, work.lost));
  }

  void look_at_the_end() {
    run_.seconds = static_cast<double>(monotonic_ns() - start_ns_) / kNsPerSecond;
    if (auto last = take_snapshot(kernel_socket_)) {
      if (!run_.updates.empty()) run_.updates.back().end = *last;
      run_.last = std::move(*last);
      for (uint64_t end = monotonic_ns() + 2'000'000'000; monotonic_ns() < end;) {
        sleep_until(monotonic_ns() + kPollNs);
        auto later = take_snapshot(kernel_socket_);
        if (!later) break;
        run_.later = std::move(*later);
        if (options_.workload->work(*run_.later).done > options_.workload->work(*run_.last).done) break;
      }
    }
    end_iommu_generation();
    if (disk_ && run_.later) look_at_the_disk();
    run_.machine_alive = machine_.running();
    auto machine = MachineClient::connect(server::machine_socket_name(name_));
    if (machine) {
      if (auto text = machine->status()) run_.machine_status = std::move(*text);
    }
  }

  // What the machine's IOMMUs say now; nothing without any.
  std::optional<MachineIommu> look_at_the_iommu() {
    if (options_.iommu == IommuMode::kOff) return std::nullopt;
    auto machine = MachineClient::connect(server::machine_socket_name(name_));
    if (machine) {
      if (auto text = machine->status()) return parse_machine_iommu(*text);
    }
    failed("the machine does not tell what its IOMMU does");
    return std::nullopt;
  }
  void begin_iommu_generation(uint32_t generation) {
    if (auto seen = look_at_the_iommu()) run_.iommu.push_back({generation, *seen, *seen});
  }
  void end_iommu_generation() {
    if (run_.iommu.empty()) return;
    if (auto seen = look_at_the_iommu()) run_.iommu.back().end = std::move(*seen);
  }

  // Once nothing is under way any more, the file is what the driver says it wrote.
  void look_at_the_disk() {
    progress_.show("comparing the disk");
    auto drained = server::ask(kernel_socket_, "drain", 30000);
    if (!drained || !drained->ok()) {
      failed("the driver's work does not end: " + (drained ? drained->text("reason") : brief(drained.error())));
      return;
    }
    auto last = take_snapshot(kernel_socket_);
    if (!last) {
      failed("the kernel died before its disk could be compared: " + brief(last.error()));
      return;
    }
    run_.later = std::move(*last);
    auto seen = compare_disk(disk_.get(), run_.later->status);
    if (seen) {
      run_.disk = std::move(*seen);
    } else {
      failed("cannot compare the disk: " + brief(seen.error()));
    }
  }

  void power_off() {
    progress_.show("stopping");
    if (kernel_.running()) {
      auto reply = server::ask(kernel_socket_, "shutdown", 10000);
      if (!reply || !reply->ok()) {
        failed("the kernel does not shut down: " + (reply ? reply->text("reason") : brief(reply.error())));
      } else if (!kernel_.wait(10000)) {
        failed("the kernel still runs 10 s after its shutdown");
      } else if (kernel_.how_it_ended() != "exit status 0") {
        failed("the kernel's shutdown ended with " + kernel_.how_it_ended());
      }
    }
    auto machine = MachineClient::connect(server::machine_socket_name(name_));
    if (machine && machine->power_off()) machine_.wait(10000);
  }

  const DemoOptions& options_;
  Progress& progress_;
  const std::string name_;
  const std::string kernel_socket_;
  UniqueFd disk_;  // a memfd: nothing is left behind
  // The kernel ends before its machine does.
  Child machine_;
  Child kernel_;
  uint64_t start_ns_ = 0;
  uint64_t last_shown_ns_ = 0;
  uint64_t last_bytes_ = 0;
  DemoRun run_;
};

}  // namespace

void DemoRun::for_each_generation(const std::function<void(const Snapshot&)>& visit) const {
  if (!updates.empty()) visit(updates.front().before);
  for (size_t i = 0; i + 1 < updates.size(); ++i) visit(updates[i].end);
  if (later) {
    visit(*later);
  } else if (last) {
    visit(*last);
  } else if (!updates.empty()) {
    visit(updates.back().end);
  }
}

uint32_t DemoRun::resets(const Snapshot& last_seen) const {
  if (!first) return 0;
  uint32_t before = workload->work(*first).resets;
  uint32_t now = workload->work(last_seen).resets;
  return now - std::min(now, before);
}

std::string demo_command_line(const DemoOptions& options) {
  std::vector<std::string> words = options.workload->command_line(options);
  if (options.iommu != IommuMode::kOff) words.push_back(fmt::format("no_handover={}", kEphemeralDevice));
  if (options.sabotage != nullptr && !done_by_machine(*options.sabotage))
    words.push_back(fmt::format("sabotage={}", options.sabotage->name));
  return fmt::format("{}", fmt::join(words, " "));
}

std::vector<std::string> demo_devices(const DemoOptions& options, const std::string& disk) {
  std::vector<std::string> devices = options.workload->devices(disk);
  if (options.iommu == IommuMode::kOff) return devices;
  // The machine's default is one engine only as long as nothing else is asked for.
  if (devices.empty()) devices.push_back("dma");
  devices.push_back(fmt::format("dma@{}", kEphemeralDevice));
  return devices;
}

DemoRun run_demo(const DemoOptions& options, Progress& progress) { return Demo(options, progress).run(); }

}  // namespace causeway::cli
