// How many reads of 4 KiB a second the driver and the controller's model do together. Argument: commands in
// flight.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <span>
#include <thread>

#include "base/log.h"
#include "dma/testing/boot.h"
#include "drivers/nvme/nvme.h"
#include "hw/nvme.h"

namespace causeway::drivers::nvme {
namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kDiskSize = MiB(16);
constexpr uint64_t kReadSize = KiB(4);

// One controller and its driver, in the order of the kernel room. The tests' fixture looks for misuse of the
// DMA API as well, which costs more than what is measured here.
class Disk {
 public:
  explicit Disk(const NvmeOptions& options)
      : system_({}, MiB(64),
                {machine::DeviceSpec{.kind = machine::DeviceKind::kNvme,
                                     .nvme = {.size = kDiskSize, .queues = 1}}}) {
    for (platform::PciFunction& found : system_.platform().pci().scan())
      if (Nvme::matches(found))
        driver_ = must(Nvme::probe({system_.platform(), system_.dma(), system_.kho()}, found, options));
    system_.platform().interrupts().start();
    must(driver_->preserve());
    must(system_.kho().commit(system_.platform().mailbox(), hw::HandoverKind::kStanding, 1));
    driver_->handover_committed();
    must(driver_->start());
  }
  ~Disk() { system_.platform().interrupts().stop(); }

  // Preserved, as a controller that is handed over may use.
  PhysSegment memory(uint64_t size) {
    mm::Page* page = must(system_.pages().alloc_pages(Order::covering(size), mm::kGfpKernel | mm::kGfpZero));
    must(system_.kho().preserve_page(page, Order::covering(size)));
    return {system_.map().phys(page), size};
  }
  Nvme& driver() { return *driver_; }

 private:
  dma::testing::System system_;
  std::unique_ptr<Nvme> driver_;
};

struct Slot {
  PhysSegment memory;
  Clock::time_point submitted;
  std::atomic<bool> busy{false};
};

// Completions may be consumed by the driver's own thread as well.
class Reader {
 public:
  Reader(Disk& disk, unsigned depth) : disk_(disk.driver()), blocks_(kReadSize / disk_.info().block_size) {
    for (unsigned i = 0; i < depth; ++i) slots_.emplace_back().memory = disk.memory(kReadSize);
  }
  ~Reader() { finish(); }

  // When the command before it in the same slot is done.
  Status submit(uint64_t index) {
    Slot& slot = slots_[index % slots_.size()];
    wait(slot);
    slot.busy.store(true, std::memory_order_relaxed);
    slot.submitted = Clock::now();
    const uint64_t lba = index % (kDiskSize / kReadSize) * blocks_;
    Status submitted =
        disk_.submit({.opcode = hw::nvme::opcode::kRead,
                      .lba = lba,
                      .blocks = blocks_,
                      .data = std::span(&slot.memory, 1)},
                     [this, &slot](Result<uint32_t> result) { complete(slot, result.has_value()); });
    if (!submitted) slot.busy.store(false, std::memory_order_relaxed);
    return submitted;
  }
  void finish() {
    for (Slot& slot : slots_) wait(slot);
  }
  // Of all commands so far, when none is in flight.
  double seconds() const { return static_cast<double>(nanoseconds_.load()) * 1e-9; }
  bool failed() const { return failed_.load(); }

 private:
  void complete(Slot& slot, bool good) {
    auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - slot.submitted);
    nanoseconds_.fetch_add(static_cast<uint64_t>(took.count()), std::memory_order_relaxed);
    if (!good) failed_.store(true, std::memory_order_relaxed);
    slot.busy.store(false, std::memory_order_release);
  }
  // The controller needs a processor as well.
  void wait(Slot& slot) {
    while (slot.busy.load(std::memory_order_acquire))
      if (disk_.poll() == 0) std::this_thread::yield();
  }

  Nvme& disk_;
  const uint32_t blocks_;
  std::deque<Slot> slots_;
  std::atomic<uint64_t> nanoseconds_{0};
  std::atomic<bool> failed_{false};
};

void BM_Read4K(benchmark::State& state) {
  log::set_level(log::Level::kError);
  const auto depth = static_cast<unsigned>(state.range(0));
  Disk disk({.queue_depth = depth, .poll = true});
  // The first touch of the disk's memory is the host's time, not the controller's.
  {
    Reader first(disk, depth);
    for (uint64_t i = 0; i < kDiskSize / kReadSize; ++i) must(first.submit(i));
  }
  Reader reader(disk, depth);
  uint64_t reads = 0;
  for (auto _ : state) must(reader.submit(reads++));
  reader.finish();
  if (reader.failed()) return state.SkipWithError("a read failed");
  state.counters["IOPS"] = benchmark::Counter(static_cast<double>(reads), benchmark::Counter::kIsRate);
  state.counters["latency"] = reader.seconds() / static_cast<double>(reads);
}
BENCHMARK(BM_Read4K)->Arg(1)->Arg(32)->UseRealTime();

}  // namespace
}  // namespace causeway::drivers::nvme
