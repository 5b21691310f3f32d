#include "drivers/stream_queue.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "hw/stream_record.h"

namespace causeway::drivers {

namespace reg = hw::dma_engine;

StreamQueue::StreamQueue(platform::MmioWindow regs, kho::Kho& kho, dma::Device& device,
                         const StreamConfig& config)
    : queue_(regs, reg::kStreamQueue, config.ring_log2), kho_(kho), device_(device), config_(config) {}

Status StreamQueue::allocate() {
  CW_TRY(queue_.allocate(device_));
  buffers_.reserve(queue_.entries());
  for (uint32_t i = 0; i < queue_.entries(); ++i)
    buffers_.push_back(CW_TRY(PreservedBuffer::allocate(device_, config_.buffer_size)));
  mm::Page* page = CW_TRY(kho_.allocator().alloc_pages(kOrder0, mm::kGfpKernel | mm::kGfpZero));
  live_ = new (kho_.map().address(page)) abi::LiveState{};
  return {};
}

Status StreamQueue::restore(const abi::Handover& handover) {
  CW_POINT("drivers.stream.restore.begin");
  mm::Page* live_page = kho_.restore_folio(PhysAddr(handover.live));
  if (live_page == nullptr) return fail(EINVAL, "the stream's counters were not preserved");
  live_ = kho_.map().address_as<abi::LiveState>(live_page);
  CW_TRY(queue_.restore(device_, handover.stream_ring, handover.stream_completions));
  CW_POINT("drivers.stream.restore.after_rings");

  predecessor_table_ =
      CW_TRY(kho::BlockSet::restore(kho_, PhysAddr(handover.buffers), sizeof(abi::BufferEntry)));
  if (predecessor_table_->size() != queue_.entries()) {
    log::error("drivers", "{} buffers were handed over, want {}", predecessor_table_->size(), queue_.entries());
    return fail(EINVAL, "the number of buffers handed over is not the size of the ring");
  }
  buffers_.reserve(queue_.entries());
  for (uint32_t slot = 0; slot < queue_.entries(); ++slot) {
    const auto* entry = predecessor_table_->read<abi::BufferEntry>();
    uint64_t in_use = queue_.descriptor(slot).destination;
    PreservedBuffer buffer = CW_TRY(PreservedBuffer::restore(device_, config_.buffer_size, entry->token));
    if (entry->pending != 0 && entry->pending != entry->token) {
      // The predecessor died while it exchanged this buffer; the descriptor says how far it had come.
      PreservedBuffer other = CW_TRY(PreservedBuffer::restore(device_, config_.buffer_size, entry->pending));
      if (other.memory.handle.value() == in_use) std::swap(buffer, other);
      left_over_.push_back(other);
    }
    if (buffer.memory.handle.value() != in_use) {
      log::error("drivers", "slot {} of the ring leads the device to {:#x}, want {}", slot, in_use,
                 buffer.memory.handle);
      return fail(EILSEQ, "the device writes to a buffer that was not handed over");
    }
    buffers_.push_back(buffer);
  }
  CW_POINT("drivers.stream.restore.after_buffers");
  return queue_.check_device_agrees();
}

Status StreamQueue::preserve(abi::Handover& handover, bool with_rings) {
  if (with_rings) CW_TRY(queue_.preserve(device_));
  table_ = CW_TRY(kho::BlockSet::create(kho_, sizeof(abi::BufferEntry)));
  CW_TRY(table_->grow(buffers_.size()));
  for (PreservedBuffer& buffer : buffers_) {
    CW_TRY(buffer.preserve(device_));
    *table_->reserve<abi::BufferEntry>() = {buffer.token_value(), 0};
  }
  CW_POINT("drivers.stream.preserve.after_buffers");
  CW_TRY(kho_.preserve_folio(kho_.map().page_of_address(live_)));
  handover.live = kho_.map().direct_map().to_phys(live_).value();
  handover.buffers = table_->head().value();
  handover.buffer_count = queue_.entries();
  handover.buffer_size = config_.buffer_size;
  handover.ring_log2 = config_.ring_log2;
  handover.stream_ring = queue_.ring().token_value();
  handover.stream_completions = queue_.completions().token_value();
  return {};
}

Status StreamQueue::release_predecessor() {
  if (predecessor_table_) predecessor_table_->destroy();
  predecessor_table_.reset();
  for (PreservedBuffer& buffer : left_over_) CW_TRY(buffer.release(device_));
  left_over_.clear();
  return {};
}

Status StreamQueue::release() {
  for (PreservedBuffer& buffer : buffers_) CW_TRY(buffer.release(device_));
  buffers_.clear();
  if (table_) table_->destroy();
  table_.reset();
  mm::Page* live_page = kho_.map().page_of_address(std::exchange(live_, nullptr));
  if (kho_.is_enabled()) kho_.unpreserve_folio(live_page);
  kho_.allocator().put_page(live_page);
  return queue_.release(device_);
}

void StreamQueue::start(uint32_t rate, bool hold, uint32_t epoch) {
  new (live_) abi::LiveState{};
  live_->epoch = epoch;
  for (uint32_t slot = 0; slot < queue_.entries(); ++slot) {
    queue_.descriptor(slot) = {.source = 0,
                               .destination = buffers_[slot].memory.handle.value(),
                               .length = config_.buffer_size,
                               .op = reg::Op::kStream,
                               .cookie = slot};
  }
  queue_.program();
  queue_.write(reg::kRate, rate);
  queue_.write(reg::kRecordSize, config_.buffer_size);
  queue_.ring_doorbell(queue_.entries());
  queue_.enable(static_cast<uint32_t>(reg::OverrunHold::make(hold)));
}

void StreamQueue::resume() {
  auto consumed = static_cast<uint32_t>(counters().consumed);
  queue_.consumed(consumed);
  queue_.ring_doorbell(consumed + queue_.entries());
}

void StreamQueue::verify(const reg::Completion& completion, abi::Counters& counters) {
  if (completion.status != reg::TransferStatus::kOk) {
    ++counters.refused;
    log::warn("drivers", "the device was refused a transfer: status {}", static_cast<unsigned>(completion.status));
    return;
  }
  uint64_t sequence = completion.sequence;
  if (sequence < counters.next_sequence) {
    if (++counters.replayed == 1)
      log::error("drivers", "the stream went back to record {}, want {}", sequence, counters.next_sequence);
  } else {
    counters.lost += sequence - counters.next_sequence;
  }
  counters.next_sequence = sequence + 1;
  const auto* record = static_cast<const std::byte*>(buffers_[queue_.slot(completion.descriptor)].memory.cpu);
  reg::RecordFault fault = reg::check_record(record, config_.buffer_size, sequence);
  if (fault != reg::RecordFault::kNone) {
    if (++counters.corrupted == 1)
      log::error("drivers", "record {} in slot {}: wrong {}", sequence, queue_.slot(completion.descriptor),
                 reg::name_of(fault));
    return;
  }
  ++counters.records;
  counters.bytes += config_.buffer_size;
}

uint64_t StreamQueue::poll(uint32_t generation, uint32_t recycle) {
  uint64_t current = live_->current.load(std::memory_order_relaxed);
  abi::Counters next = live_->slot[current];
  auto first = static_cast<uint32_t>(next.consumed);
  // The device never has more completions outstanding than the ring has entries; a device gone mad must not
  // make us read for ever.
  uint32_t count = std::min(queue_.completions_produced() - first, queue_.entries());
  if (count == 0) return 0;
  if (!first_work_) first_work_ = FirstWork{monotonic_ns(), count};

  for (uint32_t i = 0; i < count; ++i) verify(queue_.completion(first + i), next);
  next.consumed += count;
  next.generation = generation;
  next.last_work_ns = monotonic_ns();
  CW_POINT("drivers.stream.poll.before_live");
  live_->slot[1 - current] = next;
  live_->current.store(1 - current, std::memory_order_release);
  CW_POINT("drivers.stream.poll.after_live");

  for (uint32_t i = 0; i < std::min(count, recycle); ++i) {
    uint32_t slot = queue_.slot(first + i);
    if (Status exchanged = exchange_buffer(slot); !exchanged)
      log::warn("drivers", "slot {} keeps its buffer: {}", slot, to_string(exchanged.error()));
  }
  resume();
  CW_POINT("drivers.stream.poll.after_doorbells");
  return count;
}

abi::BufferEntry* StreamQueue::entry(uint32_t slot) {
  return static_cast<abi::BufferEntry*>(table_->at(slot));
}

Status StreamQueue::exchange_buffer(uint32_t slot) {
  PreservedBuffer fresh = CW_TRY(PreservedBuffer::allocate(device_, config_.buffer_size));
  CW_POINT("drivers.stream.exchange.after_alloc");
  if (Status preserved = fresh.preserve(device_); !preserved) {
    CW_TRY(fresh.release(device_));
    return preserved;
  }
  CW_POINT("drivers.stream.exchange.after_preserve");
  // From here to the end the table names both buffers; the descriptor decides.
  std::atomic_ref(entry(slot)->pending).store(fresh.token_value(), std::memory_order_release);
  CW_POINT("drivers.stream.exchange.after_pending");
  std::atomic_ref(queue_.descriptor(slot).destination)
      .store(fresh.memory.handle.value(), std::memory_order_release);
  CW_POINT("drivers.stream.exchange.after_descriptor");
  std::atomic_ref(entry(slot)->token).store(fresh.token_value(), std::memory_order_release);
  CW_POINT("drivers.stream.exchange.after_token");
  std::atomic_ref(entry(slot)->pending).store(0, std::memory_order_release);
  std::swap(buffers_[slot], fresh);
  ++recycled_;
  CW_POINT("drivers.stream.exchange.before_release");
  return fresh.release(device_);
}

void StreamQueue::free_posted_buffers(uint32_t count) {
  auto next = static_cast<uint32_t>(counters().consumed);
  for (uint32_t i = 0; i < count; ++i) {
    // A copy: the slot still names the memory, as the careless driver's would.
    PreservedBuffer buffer = buffers_[queue_.slot(next + queue_.entries() / 2 + i)];
    if (Status freed = buffer.release(device_); !freed)
      log::error("drivers", "early free failed: {}", to_string(freed.error()));
  }
}

}  // namespace causeway::drivers
