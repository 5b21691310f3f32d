#include "drivers/nvme/nvme.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "drivers/nvme/block_content.h"
#include "drivers/nvme/state.h"

namespace causeway::drivers::nvme {

namespace reg = hw::nvme;

namespace {

constexpr auto kPollPeriod = std::chrono::microseconds(20);
constexpr auto kWatchPeriod = std::chrono::milliseconds(5);
constexpr unsigned kPollBatch = 64;
constexpr uint64_t kDrainTimeoutNs = 5'000'000'000;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kSpinNs = 50'000;

}  // namespace

Nvme::Nvme(std::unique_ptr<State> state) : state_(std::move(state)) {}

Nvme::~Nvme() {
  State& s = *state_;
  s.thread.request_stop();
  s.thread.join();
  // The handlers refer to the queues; a dead kernel takes no more interrupts.
  for (uint8_t vector : s.vectors) s.context.platform.interrupts().set_handler(vector, {});
}

bool Nvme::adopted() const { return state_->adopted; }
Status Nvme::preserve() { return state_->preserve(); }
bool Nvme::may_start_before_commit() const { return !state_->adopted || state_->device.iommu() == nullptr; }

Status Nvme::start() {
  State& s = *state_;
  s.function.set_bus_master(true);
  for (size_t i = 0; i < s.vectors.size(); ++i)
    CW_TRY(s.function.enable_msix(static_cast<unsigned>(i + 1), s.vectors[i]));
  for (size_t i = 0; i < s.queues.size(); ++i) {
    CW_TRY(s.controller.create_queue(static_cast<unsigned>(i + 1), s.queues[i]->setup()));
    if (s.adopted) s.completed_during += s.queues[i]->waiting();
  }
  CW_POINT("drivers.nvme.start.before_open");
  s.open();
  return {};
}

void Nvme::State::open() {
  for (auto& queue : queues) {
    queue->set_client(workload.get());
    queue->open();
    poll_queue(*queue);  // what came while nobody looked, and the first commands of the workload
  }
  running = true;
  run_thread();
}

void Nvme::State::close() {
  running = false;
  thread.request_stop();
  thread.join();
  for (auto& queue : queues) queue->close();
}

// Completes what an interrupt was lost for, gives up what does not complete, and polls if nobody else does.
void Nvme::State::run_thread() {
  thread = sync::Thread("drivers.nvme", [this](sync::StopToken stop) {
    uint64_t last_expiry = monotonic_ns();
    do {
      for (auto& queue : queues)
        for (unsigned i = 0; i < kPollBatch && poll_queue(*queue) != 0; ++i) {
        }
      if (monotonic_ns() - last_expiry < 10 * kNsPerMs) continue;
      last_expiry = monotonic_ns();
      for (size_t i = 0; i < queues.size(); ++i)
        for (uint16_t cid : queues[i]->expire(options.timeout_ms * kNsPerMs))
          if (Result<bool> aborted = controller.abort(static_cast<unsigned>(i + 1), cid); !aborted)
            log::warn("drivers", "{}: abort: {}", function.bdf(), to_string(aborted.error()));
    } while (options.poll ? sync::sleep_unless_stopped(stop, kPollPeriod) : sync::sleep_unless_stopped(stop, kWatchPeriod));
  });
}

unsigned Nvme::State::poll_queue(IoQueue& queue) {
  unsigned count = queue.poll();
  uint64_t none = 0;
  if (count != 0 && first_work_ns.load(std::memory_order_relaxed) == 0)
    first_work_ns.compare_exchange_strong(none, monotonic_ns());
  return count;
}

void Nvme::handover_committed() {
  State& s = *state_;
  s.context.kho.restore_free(std::exchange(s.predecessor_handover, nullptr));
  if (s.adopted && s.options.sabotage == Sabotage::kEarlyFree) s.buffers.free_early();
}

void Nvme::freeze() {
  State& s = *state_;
  s.close();
  if (s.handed_over) return;
  for (size_t i = 0; i < s.queues.size(); ++i)
    if (Status drained = s.queues[i]->drain(kDrainTimeoutNs); !drained)
      log::error("drivers", "{}: queue {}: {}", s.function.bdf(), i + 1, to_string(drained.error()));
  s.function.set_bus_master(false);
}

void Nvme::thaw() {
  State& s = *state_;
  s.function.set_bus_master(true);
  s.open();
}

void Nvme::shutdown() {
  State& s = *state_;
  s.close();
  auto complain = [&](const char* what, const Status& status) {
    if (!status) log::warn("drivers", "{}: {}: {}", s.function.bdf(), what, to_string(status.error()));
  };
  for (auto& queue : s.queues) {
    queue->set_client(nullptr);
    complain("shutdown", queue->drain(kDrainTimeoutNs));
  }
  complain("shutdown", s.controller.shut_down());
  s.function.set_bus_master(false);
  s.function.disable_msix();
  for (uint8_t vector : std::exchange(s.vectors, {})) s.context.platform.interrupts().release(vector);
  {
    sync::MutexLock lock(s.peer_mutex);
    if (s.peer_window) complain("peer memory", s.context.dma.p2p().remove(s.peer_id));
    s.peer_window.reset();
  }
  if (s.handover != nullptr) s.context.kho.remove_subtree(s.handover);
  for (auto& queue : s.queues) complain("leaked", queue->release());
  s.buffers.release();
  complain("leaked", s.controller.release(s.device));
  s.context.kho.unpreserve_free(std::exchange(s.handover, nullptr));
  s.queues.clear();
  s.context.dma.device_removed(s.device);
}

NamespaceInfo Nvme::info() const {
  const State& s = *state_;
  return {s.identity.blocks, 1u << s.identity.block_log2, s.max_transfer};
}

Status Nvme::State::check(const Command& command) const {
  uint64_t bytes = 0;
  for (const PhysSegment& segment : command.data)
    if (!checked_add(bytes, segment.length, &bytes)) return fail(EINVAL, "the segments are too long");
  if (bytes > max_transfer || bytes != uint64_t{command.blocks} << identity.block_log2)
    return fail(EINVAL, "a command's memory is not as long as its blocks, or longer than a command may be");
  uint64_t end;
  if (!checked_add(command.lba, command.blocks, &end) || end > identity.blocks)
    return fail(ERANGE, "the blocks lie beyond the end of the namespace");
  if (!handed_over.load(std::memory_order_relaxed)) return {};
  dma::P2pState peers(device);
  for (const PhysSegment& segment : command.data) {
    if (segment.length == 0 || peers.type_of(segment.phys) != dma::P2pType::kNone) continue;
    uint64_t last;
    if (!checked_add(segment.phys.value(), segment.length - 1, &last)) return fail(EINVAL, "a segment wraps");
    for (Pfn pfn = Pfn::containing(segment.phys); pfn <= Pfn::containing(PhysAddr(last)); ++pfn)
      if (!context.kho.is_preserved({pfn, pfn + 1}))
        return fail(EPERM, "a controller that is handed over may only reach preserved memory");
  }
  return {};
}

Status Nvme::submit(const Command& command, Done done) {
  State& s = *state_;
  CW_TRY(s.check(command));
  uint32_t first = s.next_queue.fetch_add(1, std::memory_order_relaxed);
  Status submitted;
  for (size_t i = 0; i < s.queues.size(); ++i) {
    submitted = s.queues[(first + i) % s.queues.size()]->submit(command, done);
    if (submitted || submitted.error().code != Errno{EAGAIN}) return submitted;
  }
  return submitted;
}

unsigned Nvme::poll() {
  unsigned count = 0;
  for (auto& queue : state_->queues) count += state_->poll_queue(*queue);
  return count;
}

void Nvme::expire() {
  for (auto& queue : state_->queues) queue->expire(state_->options.timeout_ms * kNsPerMs);
}

Status Nvme::State::run(const Command& command) {
  CW_TRY(check(command));
  struct Wait {
    std::atomic<bool> done{false};
    Result<uint32_t> result = 0;
  };
  // Shared: after a timeout the completion may still come.
  auto wait = std::make_shared<Wait>();
  IoQueue& queue = *queues[next_queue.fetch_add(1, std::memory_order_relaxed) % queues.size()];
  const uint64_t begin = monotonic_ns();
  auto pause = [&] {
    if (monotonic_ns() - begin < kSpinNs) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kPollPeriod);
    }
  };
  for (;;) {
    Status submitted = queue.submit(command, [wait](Result<uint32_t> result) {
      wait->result = std::move(result);
      wait->done.store(true, std::memory_order_release);
    });
    if (submitted) break;
    if (submitted.error().code != Errno{EAGAIN} || monotonic_ns() - begin > options.timeout_ms * kNsPerMs) return submitted;
    poll_queue(queue);
    pause();
  }
  while (!wait->done.load(std::memory_order_acquire)) {
    poll_queue(queue);
    if (monotonic_ns() - begin > 2 * options.timeout_ms * kNsPerMs)
      return fail(ETIMEDOUT, "a command did not complete in time");
    if (!wait->done.load(std::memory_order_acquire)) pause();
  }
  CW_TRY(wait->result);
  return {};
}

namespace {

Command transfer(uint8_t opcode, uint64_t lba, std::span<const PhysSegment> segments, uint32_t block_log2) {
  uint64_t bytes = 0;
  for (const PhysSegment& segment : segments) bytes += segment.length;
  return {.opcode = opcode, .lba = lba, .blocks = static_cast<uint32_t>(bytes >> block_log2), .data = segments};
}

}  // namespace

Status Nvme::read(uint64_t lba, std::span<const PhysSegment> segments) {
  return state_->run(transfer(reg::opcode::kRead, lba, segments, state_->identity.block_log2));
}
Status Nvme::write(uint64_t lba, std::span<const PhysSegment> segments) {
  return state_->run(transfer(reg::opcode::kWrite, lba, segments, state_->identity.block_log2));
}
Status Nvme::flush() { return state_->run({.opcode = reg::opcode::kFlush}); }

Result<PhysSegment> Nvme::memory_buffer() { return state_->memory_buffer(); }

Result<PhysSegment> Nvme::State::memory_buffer() {
  sync::MutexLock lock(peer_mutex);
  if (peer_window) return *peer_window;
  platform::MmioWindow& regs = controller.regs();
  if (reg::CapCmbs::get(regs.read64(reg::kCap)) == 0) return fail(ENODEV, "the controller has no memory buffer");
  uint64_t setup = regs.read64(reg::kCmbmsc) | reg::CmbmscCre::make(1);
  regs.write64(reg::kCmbmsc, setup);
  uint32_t size = regs.read32(reg::kCmbsz);
  if (reg::CmbszRds::get(size) == 0 || reg::CmbszWds::get(size) == 0 || reg::CmbszSz::get(size) == 0)
    return fail(ENODEV, "the controller's memory buffer is not for data");
  uint64_t unit = kPageSize << 4 * reg::CmbszSzu::get(size);
  PhysSegment window{function.bar0_base() + reg::CmblocOfst::get(regs.read32(reg::kCmbloc)) * unit,
                     reg::CmbszSz::get(size) * unit};
  // At its physical address, which on this bus is its bus address.
  setup |= reg::CmbmscCmse::make(1) | reg::CmbmscCba::make(window.phys.value() >> kPageShift);
  regs.write64(reg::kCmbmsc, setup);
  peer_id = CW_TRY(context.dma.p2p().add({.base = window.phys, .size = window.length, .owner = device.pci_path()}));
  peer_window = window;
  return window;
}

NvmeStats Nvme::stats() const {
  const State& s = *state_;
  NvmeStats stats{.adopted = s.adopted, .handed_over = s.handed_over, .queues = static_cast<unsigned>(s.queues.size())};
  stats.passes = s.workload != nullptr ? ~uint64_t{0} : 0;
  for (size_t i = 0; i < s.queues.size(); ++i) {
    abi::Counters counters = s.queues[i]->counters();
    stats.reads += counters.reads;
    stats.writes += counters.writes;
    stats.flushes += counters.flushes;
    stats.bytes_read += counters.bytes_read;
    stats.bytes_written += counters.bytes_written;
    stats.verified += counters.verified;
    stats.lost += counters.lost;
    stats.duplicated += counters.duplicated;
    stats.corrupted += counters.corrupted;
    stats.refused += counters.refused;
    stats.late += counters.late;
    stats.in_flight += s.queues[i]->in_flight();
    if (s.workload != nullptr) stats.passes = std::min(stats.passes, s.queues[i]->workload().pass);
    stats.device_completed += s.controller.queue_reg64(static_cast<unsigned>(i + 1), reg::kCwCompleted);
  }
  if (s.workload != nullptr) {
    stats.file_bytes = s.workload->config().file_bytes;
    if (workload_done()) stats.file_seed = final_seed();
  }
  stats.in_flight_at_takeover = s.in_flight_at_takeover;
  stats.completed_during_blackout = s.completed_during;
  stats.completed_before = s.completed_before;
  stats.completed_after = stats.reads + stats.writes + stats.flushes - s.completed_before;
  stats.first_work_ns = s.first_work_ns;
  if (s.adopted && stats.first_work_ns > s.last_work_before_ns && s.last_work_before_ns != 0)
    stats.blackout_ns = stats.first_work_ns - s.last_work_before_ns;
  stats.device_in_flight = s.controller.regs().read32(reg::kCwTotalInFlight);
  stats.device_epoch = s.controller.epoch();
  stats.expected_epoch = s.expected_epoch;
  return stats;
}

Status Nvme::drain() {
  if (state_->workload == nullptr) return {};
  finish_workload();
  for (uint64_t end = monotonic_ns() + kDrainTimeoutNs; !workload_done();) {
    if (monotonic_ns() > end) return fail(ETIMEDOUT, "commands of the workload are still in flight");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

void Nvme::finish_workload() {
  State& s = *state_;
  if (s.workload == nullptr) return;
  // A queue may go on to the next pass while we look; then that one is the last.
  for (uint64_t last = 0;;) {
    for (auto& queue : s.queues) last = std::max(last, queue->workload().pass);
    if (s.final_pass == last) return;
    s.final_pass = last;
    s.workload->stop_after(last);
  }
}

bool Nvme::workload_done() const {
  const State& s = *state_;
  return std::all_of(s.queues.begin(), s.queues.end(), [&](const auto& queue) {
    return queue->workload().pass > s.final_pass && queue->in_flight() == 0;
  });
}

uint64_t Nvme::final_seed() const { return pass_seed(state_->options.seed, state_->final_pass); }

}  // namespace causeway::drivers::nvme
