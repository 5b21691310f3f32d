// A live update in one process: a machine streams into a kernel's buffers, the kernel is replaced,
// the stream goes on. Run it: build/release/bin/example_live_update
#include <cstdio>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "kernel/kernel.h"
#include "machine/machine.h"

using namespace causeway;

namespace {

drivers::DmaEngineStats stream(const kernel::Kernel& kernel) { return kernel.status().engines.front().second; }

Status run() {
  std::unique_ptr<machine::Machine> machine = CW_TRY(machine::Machine::create({.ram = MiB(256)}));
  // A record for which no buffer is posted is lost: 2048 buffers at 500 records a second outlast a kernel that is away for
  // four seconds; on a loaded machine, under a sanitizer, more than one has been seen.
  kernel::BootParams params = CW_TRY(kernel::parse_command_line("dma_engine.ring=2048 dma_engine.rate=500"));
  std::unique_ptr<kernel::Kernel> kernel = CW_TRY(kernel::Kernel::boot(machine->connect(), params));

  for (int update = 1; update <= 3; ++update) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CW_TRY(kernel->freeze());  // the old kernel consumes no more; the device goes on
    kernel.reset();            // and is gone
    kernel = CW_TRY(kernel::Kernel::boot(machine->connect(), params));
    while (stream(*kernel).first_work_ns == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    drivers::DmaEngineStats now = stream(*kernel);
    std::printf("update %d: blackout %.2f ms, %lu records came meanwhile, %lu verified in all, %lu lost\n", update,
                static_cast<double>(now.blackout_ns) / 1e6, now.completed_during, now.records, now.lost);
    if (now.lost != 0 || now.corrupted != 0) return fail(EIO, "the stream was damaged");
  }
  kernel->shutdown();
  return {};
}

}  // namespace

int main() {
  log::set_level(log::Level::kWarn);
  Status done = run();
  if (!done) std::fprintf(stderr, "%s\n", to_string(done.error()).c_str());
  return done ? 0 : 1;
}
