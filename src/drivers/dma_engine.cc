#include "drivers/dma_engine.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "dma/iommu/iommu_dma.h"
#include "drivers/abi/dma_engine_v1.h"
#include "drivers/stream_queue.h"
#include "drivers/work_queue.h"
#include "sync/mutex.h"

namespace causeway::drivers {

namespace reg = hw::dma_engine;

namespace {

constexpr uint64_t kResetTimeoutNs = 2'000'000'000;
constexpr uint32_t kEarlyFreed = 32;  // buffers that Sabotage::kEarlyFree frees

bool is_valid_width(unsigned bits) { return bits == 32 || bits == 40 || bits == 64; }

}  // namespace

struct DmaEngine::State {
  State(DriverContext ctx, platform::PciFunction fn, const DmaEngineOptions& opts)
      : context(ctx),
        function(fn),
        regs(fn.bar0()),
        device(ctx.dma, fmt::format("{}", fn.bdf())),
        options(opts),
        generation(ctx.platform.generation()) {}

  Status set_up();
  Status adopt(const kho::Subtree& subtree);
  Status adopt_checked(const abi::Handover& handover);
  Status reset_device();
  Status configure_device(unsigned address_width);
  void consume();

  DriverContext context;
  platform::PciFunction function;
  platform::MmioWindow regs;
  dma::Device device;
  DmaEngineOptions options;
  const uint32_t generation;
  uint8_t vector = 0;
  bool adopted = false;
  std::atomic<bool> handed_over{false};
  std::atomic<bool> may_map{false};  // a restored domain takes nothing new before the handover has been committed

  abi::Handover* handover = nullptr;  // ours, outgoing
  void* predecessor_handover = nullptr;

  mutable sync::Mutex stream_mutex{"drivers.dma_engine.stream"};
  std::unique_ptr<StreamQueue> stream CW_GUARDED_BY(stream_mutex);
  abi::Counters at_adoption CW_GUARDED_BY(stream_mutex){};
  bool consuming CW_GUARDED_BY(stream_mutex) = false;
  bool committed CW_GUARDED_BY(stream_mutex) = false;

  mutable sync::Mutex work_mutex{"drivers.dma_engine.work"};
  WorkQueue work CW_GUARDED_BY(work_mutex);
  bool work_stopped CW_GUARDED_BY(work_mutex) = true;
  uint64_t work_done CW_GUARDED_BY(work_mutex) = 0;
  uint64_t work_failed CW_GUARDED_BY(work_mutex) = 0;
};

bool DmaEngine::matches(const platform::PciFunction& function) {
  return function.vendor() == reg::kVendor && function.device() == reg::kDevice;
}

std::string DmaEngine::subtree_name(Bdf bdf) { return fmt::format("dma-engine-{}", bdf); }

DmaEngine::DmaEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}

DmaEngine::~DmaEngine() {
  // The interrupt handler refers to the state; a dead kernel takes no more interrupts.
  if (state_->vector != 0) state_->context.platform.interrupts().set_handler(state_->vector, {});
}

Result<std::unique_ptr<DmaEngine>> DmaEngine::probe(DriverContext context, platform::PciFunction function,
                                                    const DmaEngineOptions& options) {
  if (!is_valid_width(options.address_width)) return fail(EINVAL, "the address width is not 32, 40 or 64");
  if (options.ring_log2 < 1 || options.ring_log2 > 16) return fail(EINVAL, "the ring does not have 2 to 65536 entries");
  auto state = std::make_unique<State>(context, function, options);
  uint32_t version = state->regs.read32(reg::kVersion);
  if (version != reg::kVersionValue) {
    log::error("drivers", "{}: version {:#x}, want {:#x}", function.bdf(), version, reg::kVersionValue);
    return fail(ENODEV, "an unknown version of the device");
  }

  Result<kho::Subtree> predecessor = context.kho.retrieve_subtree(subtree_name(function.bdf()));
  if (predecessor) {
    state->adopted = true;
    Status adopted = state->adopt(*predecessor);
    if (!adopted) {
      // The device may be writing to memory that nobody holds any more: first of all it must stop.
      state->function.set_bus_master(false);
      log::error("drivers", "{}: not adopted, taken off the bus: {}", function.bdf(), to_string(adopted.error()));
      return fail(adopted.error());
    }
  } else if (predecessor.error().code == Errno{ENOENT}) {
    CW_TRY(state->set_up());
  } else {
    state->function.set_bus_master(false);
    return fail(predecessor.error());
  }

  State* raw = state.get();
  context.platform.interrupts().set_handler(state->vector, [raw] { raw->consume(); });
  return std::unique_ptr<DmaEngine>(new DmaEngine(std::move(state)));
}

Status DmaEngine::State::reset_device() {
  regs.write32(reg::kControl, static_cast<uint32_t>(reg::ControlReset::make(1)));
  for (uint64_t begin = monotonic_ns(); reg::ControlReset::get(regs.read32(reg::kControl)) != 0;) {
    if (monotonic_ns() - begin > kResetTimeoutNs) return fail(ETIMEDOUT, "the device does not come out of reset");
  }
  return {};
}

Status DmaEngine::State::configure_device(unsigned address_width) {
  CW_TRY(device.set_mask_and_coherent(dma::bit_mask(address_width)));
  return context.iommu != nullptr ? dma::attach_iommu(device, *context.iommu) : Status{};
}

Status DmaEngine::State::set_up() {
  // Whatever it did for a kernel that left no handover, it does no more.
  function.set_bus_master(false);
  function.enable_memory();
  CW_TRY(reset_device());
  regs.write32(reg::kAddressWidth, options.address_width);
  CW_TRY(configure_device(options.address_width));

  vector = CW_TRY(context.platform.interrupts().allocate());
  sync::MutexLock stream_lock(stream_mutex);
  stream = std::make_unique<StreamQueue>(regs, context.kho, device,
                                         StreamConfig{options.ring_log2, options.buffer_size});
  CW_TRY(stream->allocate());
  sync::MutexLock work_lock(work_mutex);
  work = WorkQueue(regs);
  return work.allocate(device);
}

Status DmaEngine::State::adopt(const kho::Subtree& subtree) {
  CW_POINT("drivers.dma_engine.adopt.begin");
  if (subtree.size < sizeof(abi::Handover)) return fail(EINVAL, "the handover is too short");
  if (!context.kho.preserved_order(subtree.phys)) return fail(EINVAL, "the handover itself was not preserved");
  predecessor_handover = context.kho.map().direct_map().to_virt(subtree.phys);
  abi::Handover old;
  std::memcpy(&old, predecessor_handover, sizeof old);
  if (std::memcmp(old.compatible, abi::kCompatible, sizeof old.compatible) != 0)
    return fail(EPROTONOSUPPORT, "the handover is of another version");
  if (old.ring_log2 < 1 || old.ring_log2 > 16 || old.work_log2 != kWorkLog2 || old.buffer_size == 0 ||
      old.buffer_count != 1u << old.ring_log2 || !is_valid_width(old.address_width) || old.vector >= hw::kVectors)
    return fail(EINVAL, "the handover does not describe a DMA engine");
  return adopt_checked(old);
}

Status DmaEngine::State::adopt_checked(const abi::Handover& old) {
  // The configuration of a running device is its predecessor's, whatever this kernel's command line says.
  options.ring_log2 = old.ring_log2;
  options.buffer_size = old.buffer_size;
  options.address_width = old.address_width;
  CW_TRY(configure_device(old.address_width));
  if (regs.read32(reg::kAddressWidth) != old.address_width)
    return fail(EILSEQ, "the device drives another address width than was handed over");
  if (!function.bus_master()) return fail(EILSEQ, "the device is off the bus");

  sync::MutexLock stream_lock(stream_mutex);
  stream = std::make_unique<StreamQueue>(regs, context.kho, device,
                                         StreamConfig{options.ring_log2, options.buffer_size});
  CW_TRY(stream->restore(old));
  sync::MutexLock work_lock(work_mutex);
  work = WorkQueue(regs);
  CW_TRY(work.restore(device, old.work_ring, old.work_completions, old.work_buffer));
  CW_TRY(work.queue().check_device_agrees());
  CW_TRY(work.drain());
  work_stopped = false;
  CW_POINT("drivers.dma_engine.adopt.after_restore");

  vector = static_cast<uint8_t>(old.vector);
  CW_TRY(context.platform.interrupts().claim(vector));
  at_adoption = stream->counters();
  if (options.sabotage == Sabotage::kStopDevice) {
    // As a driver does that knows no other start than a reset.
    CW_TRY(reset_device());
    uint32_t expected = static_cast<uint32_t>(stream->live().epoch);
    regs.write32(reg::kAddressWidth, options.address_width);
    stream->start(options.rate, options.hold, expected);
    uint64_t last_work_ns = at_adoption.last_work_ns;
    at_adoption = stream->counters();
    at_adoption.last_work_ns = last_work_ns;
    work.start();
    regs.write32(reg::kControl, static_cast<uint32_t>(reg::ControlInterrupts::make(1)));
  }
  return {};
}

bool DmaEngine::adopted() const { return state_->adopted; }

Status DmaEngine::preserve() {
  State& s = *state_;
  CW_POINT("drivers.dma_engine.preserve.begin");
  if (s.device.iommu() != nullptr && !s.device.iommu()->is_preserved())
    return fail(EOPNOTSUPP, "the device's domain is not preserved");
  s.handover = static_cast<abi::Handover*>(CW_TRY(s.context.kho.alloc_preserve(sizeof(abi::Handover))));
  abi::Handover& out = *s.handover;
  std::memcpy(out.compatible, abi::kCompatible, sizeof out.compatible);
  out.address_width = s.options.address_width;
  out.vector = s.vector;
  {
    sync::MutexLock lock(s.stream_mutex);
    CW_TRY(s.stream->preserve(out, s.options.sabotage != Sabotage::kSkipPreserve));
  }
  {
    sync::MutexLock lock(s.work_mutex);
    CW_TRY(s.work.preserve(s.device));
    out.work_log2 = kWorkLog2;
    out.work_ring = s.work.queue().ring().token_value();
    out.work_completions = s.work.queue().completions().token_value();
    for (unsigned i = 0; i < 2; ++i) out.work_buffer[i] = s.work.buffer(i).token_value();
  }
  CW_POINT("drivers.dma_engine.preserve.before_subtree");
  CW_TRY(s.context.kho.add_subtree(subtree_name(s.function.bdf()), s.handover, sizeof(abi::Handover)));
  s.handed_over = true;
  CW_POINT("drivers.dma_engine.preserve.end");
  return {};
}

Status DmaEngine::start() {
  State& s = *state_;
  {
    sync::MutexLock lock(s.stream_mutex);
    s.consuming = true;
    if (s.adopted) {
      s.stream->resume();
    } else {
      s.function.set_bus_master(true);
      s.function.enable_msi(s.vector);
      s.regs.write32(reg::kControl, static_cast<uint32_t>(reg::ControlInterrupts::make(1)));
      s.stream->start(s.options.rate, s.options.hold, s.regs.read32(reg::kEpoch));
      sync::MutexLock work_lock(s.work_mutex);
      s.work.start();
      s.work_stopped = false;
    }
  }
  // Interrupts that came while no kernel ran may have been taken by nobody.
  s.consume();
  return {};
}

void DmaEngine::State::consume() {
  sync::MutexLock lock(stream_mutex);
  if (!consuming) return;
  uint32_t recycle = 0;
  if (adopted && committed && stream->recycled() < options.recycle)
    recycle = options.recycle - static_cast<uint32_t>(stream->recycled());
  while (stream->poll(generation, recycle) != 0) recycle = 0;
}

void DmaEngine::handover_committed() {
  State& s = *state_;
  sync::MutexLock lock(s.stream_mutex);
  s.context.kho.restore_free(std::exchange(s.predecessor_handover, nullptr));
  if (Status released = s.stream->release_predecessor(); !released)
    log::warn("drivers", "{}: what the predecessor left is leaked: {}", s.function.bdf(), to_string(released.error()));
  s.committed = true;
  s.may_map = true;
  if (s.adopted && s.options.sabotage == Sabotage::kEarlyFree) s.stream->free_posted_buffers(kEarlyFreed);
}

void DmaEngine::freeze() {
  State& s = *state_;
  {
    sync::MutexLock lock(s.work_mutex);  // an operation holds it until it has ended
    s.work_stopped = true;
  }
  sync::MutexLock lock(s.stream_mutex);
  s.consuming = false;
  s.regs.write32(reg::queue_base(reg::kStreamQueue) + reg::kResetGap, 1);
  if (!s.handed_over) s.function.set_bus_master(false);
}

void DmaEngine::thaw() {
  State& s = *state_;
  if (!s.handed_over) s.function.set_bus_master(true);
  {
    sync::MutexLock lock(s.work_mutex);
    s.work_stopped = false;
  }
  {
    sync::MutexLock lock(s.stream_mutex);
    s.consuming = true;
  }
  s.consume();
}

void DmaEngine::shutdown() {
  State& s = *state_;
  freeze();
  s.function.set_bus_master(false);
  s.function.disable_msi();
  if (Status reset = s.reset_device(); !reset) log::error("drivers", "{}", to_string(reset.error()));
  if (s.handover != nullptr) s.context.kho.remove_subtree(s.handover);
  sync::MutexLock stream_lock(s.stream_mutex);
  sync::MutexLock work_lock(s.work_mutex);
  for (Status released : {s.stream->release(), s.work.release(s.device)})
    if (!released) log::warn("drivers", "{}: leaked at shutdown: {}", s.function.bdf(), to_string(released.error()));
  s.context.kho.unpreserve_free(std::exchange(s.handover, nullptr));
  s.context.dma.device_removed(s.device);
}

Status DmaEngine::self_test() {
  State& s = *state_;
  sync::MutexLock lock(s.work_mutex);
  if (s.work_stopped) return fail(EBUSY, "the work queue is frozen");
  const uint64_t pattern = 0x9e3779b97f4a7c15 * (s.work_done + s.generation);
  Status result = s.work.verify_round_trip(pattern);
  if (result && s.device.iommu() != nullptr && (!s.adopted || s.may_map)) result = s.work.verify_fresh_maps(s.device, s.context.kho, pattern);
  ++(result ? s.work_done : s.work_failed);
  return result;
}

DmaEngineStats DmaEngine::stats() const {
  const State& s = *state_;
  DmaEngineStats stats;
  stats.adopted = s.adopted;
  {
    sync::MutexLock lock(s.work_mutex);
    stats.work_done = s.work_done;
    stats.work_failed = s.work_failed;
  }
  sync::MutexLock lock(s.stream_mutex);
  const abi::Counters& now = s.stream->counters();
  stats.records = now.records;
  stats.bytes = now.bytes;
  stats.lost = now.lost;
  stats.replayed = now.replayed;
  stats.corrupted = now.corrupted;
  stats.refused = now.refused;
  DescriptorQueue& queue = s.stream->queue();
  stats.device_completed = queue.reg64(reg::kCompleted);
  stats.device_dropped = queue.reg64(reg::kDropped);
  stats.device_refused = queue.reg64(reg::kRefused);
  stats.device_starved_ns = queue.reg64(reg::kStarved);
  stats.device_max_gap_ns = queue.reg64(reg::kMaxGap);
  stats.device_max_late_ns = queue.reg64(reg::kMaxLate);
  stats.device_epoch = s.regs.read32(reg::kEpoch);
  stats.expected_epoch = static_cast<uint32_t>(s.stream->live().epoch);
  stats.recycled = s.stream->recycled();
  stats.completed_before = s.at_adoption.records;
  stats.completed_after = now.records - s.at_adoption.records;
  if (const auto& first = s.stream->first_work()) {
    stats.first_work_ns = first->time_ns;
    if (s.adopted) {
      stats.blackout_ns = first->time_ns - s.at_adoption.last_work_ns;
      stats.completed_during = first->waiting;
    }
  }
  return stats;
}

}  // namespace causeway::drivers
