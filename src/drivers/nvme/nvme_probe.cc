#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "dma/iommu/iommu_dma.h"
#include "drivers/nvme/block_content.h"
#include "drivers/nvme/state.h"

namespace causeway::drivers::nvme {

namespace reg = hw::nvme;

namespace {

constexpr uint32_t kMaxIoSize = MiB(1);

Status check_options(const NvmeOptions& options) {
  if (options.queues < 1 || options.queues > abi::kMaxQueues) return fail(EINVAL, "not 1 to 8 queues are wanted");
  if (options.queue_depth < 1 || options.queue_depth > abi::kMaxDepth)
    return fail(EINVAL, "the queue depth is not 1 to 128");
  if (options.io_size == 0 || options.io_size > kMaxIoSize || options.io_size % kContentBlock != 0)
    return fail(EINVAL, "the size of a command is not a multiple of 4 KiB up to 1 MiB");
  if (options.timeout_ms == 0) return fail(EINVAL, "commands have no time to complete");
  return {};
}

Status check_handover(const abi::Handover& old) {
  if (std::memcmp(old.compatible, abi::kCompatible, sizeof old.compatible) != 0)
    return fail(EPROTONOSUPPORT, "the handover is of another version");
  bool sane = old.queues >= 1 && old.queues <= abi::kMaxQueues && old.depth >= 1 && old.depth <= abi::kMaxDepth &&
              old.entries == IoQueue::entries_for(old.depth) && old.admin_entries == Controller::kAdminEntries &&
              old.io_size != 0 && old.io_size <= kMaxIoSize && old.io_size % kContentBlock == 0 && old.block_log2 >= 9 &&
              old.block_log2 <= kPageShift && old.file_bytes % old.io_size == 0 &&
              old.file_bytes >> old.block_log2 <= old.blocks && old.max_transfer >= old.io_size;
  for (uint32_t i = 0; sane && i < old.queues; ++i) sane = old.queue[i].vector < hw::kVectors;
  if (!sane) return fail(EINVAL, "the handover does not describe an NVMe controller");
  return {};
}

uint32_t buffers_of(const abi::Handover& handover) {
  return handover.file_bytes != 0 ? handover.queues * handover.depth : 0;
}

uint32_t mappings_of(const abi::Handover& handover) { return (handover.flags & abi::kIommu) != 0 ? handover.queues : 0; }

}  // namespace

Nvme::State::State(DriverContext ctx, platform::PciFunction fn, const NvmeOptions& opts)
    : context(ctx),
      function(fn),
      device(ctx.dma, fmt::format("{}", fn.bdf())),
      options(opts),
      generation(ctx.platform.generation()),
      controller(fn.bar0()),
      buffers(ctx.kho) {}

bool Nvme::matches(const platform::PciFunction& function) {
  return function.vendor() == reg::kVendor && function.device() == reg::kDevice;
}

std::string Nvme::subtree_name(Bdf bdf) { return fmt::format("nvme-{}", bdf); }

Result<std::unique_ptr<Nvme>> Nvme::probe(DriverContext context, platform::PciFunction function,
                                          const NvmeOptions& options) {
  CW_TRY(check_options(options));
  auto state = std::make_unique<State>(context, function, options);
  Result<kho::Subtree> predecessor = context.kho.retrieve_subtree(subtree_name(function.bdf()));
  if (!predecessor && predecessor.error().code != Errno{ENOENT}) {
    state->function.set_bus_master(false);
    return fail(predecessor.error());
  }
  state->adopted = predecessor.has_value();
  Status ready = predecessor ? state->adopt(*predecessor) : state->set_up();
  if (!ready) {
    // The controller may be writing to memory that nobody holds any more: first of all it must stop.
    state->function.set_bus_master(false);
    log::error("drivers", "{}: not {}, taken off the bus: {}", function.bdf(), state->adopted ? "adopted" : "set up",
               to_string(ready.error()));
    return fail(ready.error());
  }
  State* raw = state.get();
  for (size_t i = 0; i < state->vectors.size(); ++i) {
    IoQueue* queue = state->queues[i].get();
    context.platform.interrupts().set_handler(state->vectors[i], [raw, queue] {
      while (raw->poll_queue(*queue) != 0) {
      }
    });
  }
  return std::unique_ptr<Nvme>(new Nvme(std::move(state)));
}

Status Nvme::State::configure_device() {
  // Whatever the bounce buffers do, an offset in a page must stay: PRP entries have no other.
  device.set_parameters({.max_segment_size = 0xffffffff, .min_align_mask = kPageSize - 1});
  device.set_pci_path({.upstream_bridge = 1 + function.bdf().bus(), .host_bridge_allowed = true});
  CW_TRY(device.set_mask_and_coherent(dma::bit_mask(64)));
  return context.iommu != nullptr ? dma::attach_iommu(device, *context.iommu) : Status{};
}

void Nvme::State::make_queues(uint32_t count) {
  for (uint32_t i = 0; i < count; ++i)
    queues.push_back(std::make_unique<IoQueue>(controller, context.kho, device,
                                               QueueConfig{.number = i + 1,
                                                           .depth = options.queue_depth,
                                                           .block_log2 = identity.block_log2,
                                                           .sgl = identity.sgl && options.sgl,
                                                           .interrupts = !options.poll,
                                                           .generation = generation}));
}

void Nvme::State::make_workload() {
  if (options.file_bytes == 0) return;
  std::vector<FileWorkload::Buffer> memory;
  for (uint32_t i = 0; i < buffers.count(); ++i) memory.push_back({buffers.cpu(i), buffers.phys(i)});
  workload = std::make_unique<FileWorkload>(
      WorkloadConfig{static_cast<uint32_t>(queues.size()), options.queue_depth, options.io_size, options.file_bytes,
                     identity.block_log2, options.seed},
      std::move(memory));
}

Status Nvme::State::set_up() {
  // Whatever it did for a kernel that left no handover, it does no more.
  function.set_bus_master(false);
  function.enable_memory();
  if (controller.regs().read32(reg::kCwMagic) != reg::kCwMagicValue) return fail(ENODEV, "not the controller we know");
  CW_TRY(controller.disable());
  CW_TRY(configure_device());
  CW_TRY(controller.allocate(device));

  // On the bus for as long as it takes to ask what it is: no handover names its memory yet.
  function.set_bus_master(true);
  CW_TRY(controller.enable());
  identity = CW_TRY(controller.identify());
  uint32_t count = CW_TRY(controller.request_queues(options.queues));
  function.set_bus_master(false);
  expected_epoch = controller.epoch();

  uint64_t deepest = reg::CapMqes::get(controller.regs().read64(reg::kCap)) + 1;
  while (options.queue_depth > 1 && IoQueue::entries_for(options.queue_depth) > deepest) options.queue_depth /= 2;
  max_transfer = std::min({identity.max_transfer, DataPointer::kMaxPrpBytes, uint64_t{dma::opt_mapping_size(device)},
                           uint64_t{dma::max_mapping_size(device)}, uint64_t{65536} << identity.block_log2});
  max_transfer = align_down(max_transfer, kPageSize);
  if (options.io_size > max_transfer) {
    log::warn("drivers", "{}: commands of {} bytes, not {}: it takes no more", function.bdf(), max_transfer, options.io_size);
    options.io_size = static_cast<uint32_t>(max_transfer);
  }
  uint64_t room = identity.blocks << identity.block_log2;
  options.file_bytes = std::min(options.file_bytes, room) / options.io_size * options.io_size;

  make_queues(count);
  for (auto& queue : queues) {
    CW_TRY(queue->allocate());
    if (!options.poll) vectors.push_back(CW_TRY(context.platform.interrupts().allocate()));
  }
  if (options.file_bytes != 0) CW_TRY(buffers.allocate(count * options.queue_depth, options.io_size));
  make_workload();
  return {};
}

Status Nvme::State::adopt(const kho::Subtree& subtree) {
  CW_POINT("drivers.nvme.adopt.begin");
  if (subtree.size < sizeof(abi::Handover)) return fail(EINVAL, "the handover is too short");
  if (!context.kho.preserved_order(subtree.phys)) return fail(EINVAL, "the handover itself was not preserved");
  predecessor_handover = context.kho.map().direct_map().to_virt(subtree.phys);
  abi::Handover old;
  std::memcpy(&old, predecessor_handover, sizeof old);
  CW_TRY(check_handover(old));
  uint32_t count = buffers_of(old);
  if (subtree.size < sizeof old + (count + mappings_of(old)) * sizeof(uint64_t))
    return fail(EINVAL, "the handover is too short");
  const auto* behind = reinterpret_cast<const uint64_t*>(static_cast<abi::Handover*>(predecessor_handover) + 1);
  return adopt_checked(old, {behind, count}, {behind + count, mappings_of(old)});
}

Status Nvme::State::adopt_checked(const abi::Handover& old, std::span<const uint64_t> buffer_blocks,
                                  std::span<const uint64_t> mappings) {
  // The configuration of a running controller is its predecessor's, whatever this kernel's command line says.
  options.queues = old.queues;
  options.queue_depth = old.depth;
  options.io_size = old.io_size;
  options.file_bytes = old.file_bytes;
  options.seed = old.seed;
  options.poll = (old.flags & abi::kPolled) != 0;
  options.sgl = identity.sgl = (old.flags & abi::kSgl) != 0;
  identity.blocks = old.blocks;
  identity.block_log2 = old.block_log2;
  max_transfer = old.max_transfer;
  expected_epoch = old.epoch;
  CW_TRY(configure_device());
  if ((device.iommu() != nullptr) != !mappings.empty())
    return fail(EOPNOTSUPP, "a running controller cannot be put behind an IOMMU, nor taken from there");
  if (device.iommu() != nullptr && !device.iommu()->is_restored())
    return fail(EOPNOTSUPP, "the domain of a running controller was not restored");
  CW_TRY(controller.restore(device, old));
  CW_POINT("drivers.nvme.adopt.after_admin");

  make_queues(old.queues);
  for (uint32_t i = 0; i < old.queues; ++i) {
    CW_TRY(queues[i]->restore(old.queue[i], mappings.empty() ? 0 : mappings[i]));
    if (options.sabotage != Sabotage::kSkipClaim) CW_TRY(queues[i]->claim_mappings());
    if (queues[i]->in_flight() != 0 && !function.bus_master())
      return fail(EILSEQ, "the controller is off the bus with commands in flight");
  }
  CW_TRY(buffers.restore(buffer_blocks, options.io_size));
  make_workload();
  CW_POINT("drivers.nvme.adopt.after_restore");

  for (uint32_t i = 0; i < old.queues && !options.poll; ++i) {
    CW_TRY(context.platform.interrupts().claim(static_cast<uint8_t>(old.queue[i].vector)));
    vectors.push_back(static_cast<uint8_t>(old.queue[i].vector));
  }
  for (auto& queue : queues) {
    abi::Counters counters = queue->counters();
    in_flight_at_takeover += queue->in_flight();
    completed_before += counters.reads + counters.writes + counters.flushes;
    last_work_before_ns = std::max(last_work_before_ns, counters.last_work_ns);
    queue->restart_clocks();
  }
  return sabotage_adopted();
}

Status Nvme::State::sabotage_adopted() {
  switch (options.sabotage) {
    case Sabotage::kReplayInFlight:
      for (auto& queue : queues) queue->replay_in_flight();
      return {};
    case Sabotage::kDropInFlight:
      for (auto& queue : queues) queue->forget_in_flight();
      return {};
    case Sabotage::kStopDevice:
      // As a driver does that knows no other start than a reset; the queues are made again by start().
      CW_TRY(controller.enable());
      for (auto& queue : queues) queue->start_over();
      return {};
    case Sabotage::kNone:
    case Sabotage::kSkipPreserve:
    case Sabotage::kSkipClaim:
    case Sabotage::kEarlyFree: return {};
  }
  return {};
}

// The successor knows nothing of this kernel's bounce buffers, and of bus addresses what is handed over with the domain.
Status Nvme::State::can_be_handed_over() {
  if (device.iommu() != nullptr) {
    if (!device.iommu()->is_preserved()) return fail(EOPNOTSUPP, "the controller's domain is not preserved");
    return CommandMappings::wanted(device) ? Status{} : fail(EOPNOTSUPP, "bounced mappings cannot be handed over");
  }
  // Commands of an adopted controller are already under way, and were mapped as they have to be.
  if (adopted) return {};
  for (uint32_t i = 0; i < buffers.count(); ++i) {
    std::optional<DmaAddr> own = device.to_dma(buffers.phys(i));
    DmaAddr mapped = dma::map_phys(device, buffers.phys(i), options.io_size, dma::Direction::kBidirectional, dma::Attr::kNone);
    CW_TRY(dma::mapping_error(device, mapped));
    dma::unmap_phys(device, mapped, options.io_size, dma::Direction::kBidirectional, dma::Attr::kNone);
    if (mapped != own) return fail(EOPNOTSUPP, "bounced mappings cannot be handed over");
  }
  return {};
}

Status Nvme::State::preserve() {
  CW_POINT("drivers.nvme.preserve.begin");
  CW_TRY(can_be_handed_over());
  const bool iommu = device.iommu() != nullptr;
  uint64_t size = sizeof(abi::Handover) + (buffers.count() + (iommu ? queues.size() : 0)) * sizeof(uint64_t);
  handover = static_cast<abi::Handover*>(CW_TRY(context.kho.alloc_preserve(size)));
  abi::Handover& out = *handover;
  std::memcpy(out.compatible, abi::kCompatible, sizeof out.compatible);
  out.queues = static_cast<uint32_t>(queues.size());
  out.depth = options.queue_depth;
  out.entries = IoQueue::entries_for(options.queue_depth);
  out.io_size = options.io_size;
  out.block_log2 = identity.block_log2;
  out.epoch = expected_epoch;
  out.flags = (identity.sgl && options.sgl ? abi::kSgl : 0) | (options.poll ? abi::kPolled : 0) |
              (iommu ? abi::kIommu : 0);
  out.max_transfer = max_transfer;
  out.blocks = identity.blocks;
  out.file_bytes = options.file_bytes;
  out.seed = options.seed;
  CW_TRY(controller.preserve(device));
  controller.hand_over(out);
  CW_POINT("drivers.nvme.preserve.after_admin");
  for (size_t i = 0; i < queues.size(); ++i) {
    CW_TRY(queues[i]->preserve(out.queue[i], options.sabotage != Sabotage::kSkipPreserve));
    out.queue[i].vector = vectors.empty() ? 0 : vectors[i];
  }
  CW_POINT("drivers.nvme.preserve.after_queues");
  auto* behind = reinterpret_cast<uint64_t*>(handover + 1);
  CW_TRY(buffers.preserve({behind, buffers.count()}));
  for (size_t i = 0; iommu && i < queues.size(); ++i) behind[buffers.count() + i] = queues[i]->mappings().phys_value();
  CW_POINT("drivers.nvme.preserve.before_subtree");
  CW_TRY(context.kho.add_subtree(subtree_name(function.bdf()), handover, size));
  handed_over = true;
  CW_POINT("drivers.nvme.preserve.end");
  return {};
}

}  // namespace causeway::drivers::nvme
