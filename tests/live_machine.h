// A machine of the test's own, as processes, and the kernels that come and go on it. All of it ends with the test.
//
//   LiveMachine machine({.hold = true});
//   ASSERT_TRUE(machine.boot());
//   machine.wait_for_work(100);
//   machine.kill_kernel();
//   ASSERT_TRUE(machine.boot());
//   EXPECT_THAT(machine.faults(), IsEmpty());
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/child.h"
#include "cli/demo.h"
#include "cli/iommu_mode.h"
#include "cli/live_update.h"
#include "cli/machine_client.h"
#include "cli/snapshot.h"

namespace causeway::tests {

class LiveMachine {
 public:
  struct Options {
    const cli::Workload* workload = &cli::stream_workload();
    std::string ram = "64M";
    unsigned ring = 64;
    unsigned rate = 2000;
    unsigned depth = 32;      // commands in flight (nvme)
    bool hold = true;         // no buffer posted: the device waits instead of dropping, however long no kernel runs
    cli::IommuMode iommu = cli::IommuMode::kOff;
    std::string more;         // further words of the kernel's command line
  };
  explicit LiveMachine(Options options);
  LiveMachine() : LiveMachine(Options{}) {}

  // "" when it came up; else why not.
  const std::string& trouble() const { return trouble_; }

  // Starts a kernel where none runs; false and a test failure if it does not come up.
  bool boot(const std::string& kernel = "causeway-kernel", const std::vector<std::string>& arguments = {});
  // `target`: path, and whatever else a kexec request takes. `reason` is for people.
  Result<cli::LiveUpdate> kexec(const std::string& target, std::string* reason);
  void kill_kernel();
  // Waits for the end of the kernel; false if it still runs after `patience_ms`.
  bool kernel_ended(unsigned patience_ms);
  std::string kernel_log() const { return kernel_.log(); }
  std::string how_kernel_ended() { return kernel_.how_it_ended(); }

  std::optional<cli::Snapshot> status() const;
  // What the workload says of itself; nothing done if no kernel answers.
  cli::Work work() const { return status() ? workload_.work(*status()) : cli::Work{}; }
  // Until it has done `more` records or commands; false if it stands still.
  bool wait_for_work(uint64_t more);
  // Everything that is wrong with the work, the memory and the IOMMU now; empty: nothing. A device reset is an
  // error if `epoch` is given and differs.
  std::vector<std::string> faults(std::optional<uint32_t> epoch = {}) const;

  Result<cli::MachineClient> client() const;
  const std::string& name() const { return name_; }
  std::string kernel_socket() const;

 private:
  const cli::Workload& workload_;
  std::string name_;
  std::string command_line_;
  std::string trouble_;
  bool has_iommu_ = false;
  cli::Child machine_;
  cli::Child kernel_;
};

}  // namespace causeway::tests
