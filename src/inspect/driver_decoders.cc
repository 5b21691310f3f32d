// What Causeway's own drivers hand over, and the DMA records their tokens lead to.
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "dma/abi/alloc_v1.h"
#include "drivers/abi/allocation_pool_v1.h"
#include "drivers/abi/dma_engine_v1.h"
#include "inspect/decoders.h"

namespace causeway::inspect {
namespace {

namespace abi = drivers::abi;
using dma::abi::AllocRecord;

constexpr const char* kRefused = "its driver refuses the handover and resets the device";

struct Tally {
  uint64_t records = 0;  // that are right
  uint64_t bytes = 0;    // of their blocks
};

// The record behind a token, checked as dma::restore() does. Record pages hold many: each is claimed once.
std::optional<AllocRecord> read_record(Context& context, uint64_t token, const char* what, Tally& tally) {
  ++context.report.work;
  const PhysAddr where(token);
  if (token == 0 || !where.is_aligned(sizeof(AllocRecord)) || where.page_offset() == 0) {
    context.findings.error("dma.token", where, "{}: {:#x} is no token of a DMA record: {}", what, token, kRefused);
    return std::nullopt;
  }
  const PhysAddr page = where.aligned_down(kPageSize);
  const std::byte* source = context.memory.at(where, sizeof(AllocRecord));
  if (source == nullptr) {
    context.missing(where, what);
    return std::nullopt;
  }
  if (!context.is_claimed(page)) {
    context.expect_preserved(page, kPageSize, "a page of DMA records");
    if (!context.claim(page, "a page of DMA records")) return std::nullopt;
    const std::byte* header_bytes = context.memory.at(page, sizeof(dma::abi::RecordPageHeader));
    dma::abi::RecordPageHeader header{};
    if (header_bytes != nullptr) std::memcpy(&header, header_bytes, sizeof header);
    if (header.magic != dma::abi::kRecordPageMagic)
      context.findings.error("dma.record-page", page, "a page of DMA records has magic {:#x}, want {:#x}", header.magic,
                             dma::abi::kRecordPageMagic);
  }
  AllocRecord record;
  std::memcpy(&record, source, sizeof record);
  const auto refuse = [&](const char* why) {
    context.findings.error("dma.record", where, "{}: {}: {}", what, why, kRefused);
    return std::nullopt;
  };
  if (record.magic != dma::abi::kAllocMagic) return refuse("no DMA record there");
  if (record.version != dma::abi::kAllocVersion) return refuse("a DMA record of another version");
  if (record.checksum != XXH64(&record, offsetof(AllocRecord, checksum), token))
    return refuse("the DMA record is damaged, by its checksum");
  if (record.size == 0 || record.order >= 52 || record.order != Order::covering(record.size).value())
    return refuse("the order of the DMA record is not that of its size");
  const auto block = context.tree.block_at(Pfn(record.page_phys >> kPageShift));
  if (!block.has_value() || block->pfn.address().value() != record.page_phys || block->order.value() != record.order)
    return refuse("its memory is not preserved as one block of that order");
  ++tally.records;
  tally.bytes += block->order.bytes();
  return record;
}

Item record_item(Context& context, const char* name, uint64_t token, Tally& tally) {
  Item item = address(name, token);
  if (auto record = read_record(context, token, name, tally)) {
    item.children = {address("phys", record->page_phys), bytes("size", record->size), number("order", record->order),
                     address("dma_handle", record->dma_handle)};
  }
  return item;
}

void decode_live_state(Context& context, Subtree& subtree, uint64_t live) {
  const auto page = context.follow(PhysAddr(live), "the live state of a DMA engine", kRefused);
  if (!page.has_value()) return;
  const auto current = page->as<uint64_t>(offsetof(abi::LiveState, current));
  if (current > 1) {
    context.findings.error("dma-engine.current", PhysAddr(live), "slot {} is current, want 0 or 1: {}", current, kRefused);
    return;
  }
  const auto counters = page->as<abi::Counters>(offsetof(abi::LiveState, slot) + current * sizeof(abi::Counters));
  subtree.fields.push_back({"counters",
                            {},
                            Item::Show::kNumber,
                            {number("generation", counters.generation), number("consumed", counters.consumed),
                             number("next_sequence", counters.next_sequence), number("records", counters.records),
                             bytes("bytes", counters.bytes), number("lost", counters.lost),
                             number("replayed", counters.replayed), number("corrupted", counters.corrupted),
                             number("refused", counters.refused)}});
}

}  // namespace

void decode_dma_engine(Context& context, Subtree& subtree, std::span<const std::byte> blob) {
  abi::Handover handover;
  std::memcpy(&handover, blob.data(), sizeof handover);
  subtree.fields = {address("live", handover.live), number("address_width", handover.address_width),
                    number("vector", handover.vector), number("ring_log2", handover.ring_log2),
                    number("work_log2", handover.work_log2)};
  Tally tally;
  const std::pair<const char*, uint64_t> rings[] = {{"stream_ring", handover.stream_ring},
                                                    {"stream_completions", handover.stream_completions},
                                                    {"work_ring", handover.work_ring},
                                                    {"work_completions", handover.work_completions},
                                                    {"work_buffer_0", handover.work_buffer[0]},
                                                    {"work_buffer_1", handover.work_buffer[1]}};
  for (const auto& [name, token] : rings) subtree.fields.push_back(record_item(context, name, token, tally));

  Tally buffers;
  uint64_t pending = 0;
  const auto entries = context.for_each_entry(
      PhysAddr(handover.buffers), sizeof(abi::BufferEntry), "a block of buffers", kRefused,
      [&](const std::byte* bytes, PhysAddr) {
        abi::BufferEntry entry;
        std::memcpy(&entry, bytes, sizeof entry);
        // A slot may be empty at the very beginning of a stream.
        if (entry.token != 0) (void)read_record(context, entry.token, "a stream buffer", buffers);
        if (entry.pending == 0) return;
        ++pending;
        (void)read_record(context, entry.pending, "a stream buffer being exchanged", buffers);
      });
  if (entries.has_value() && *entries != handover.buffer_count)
    context.findings.error("dma-engine.buffer-count", subtree.phys, "the DMA engine says {} buffers and lists {}: {}",
                           handover.buffer_count, *entries, kRefused);
  if (handover.ring_log2 >= 32 || handover.buffer_count != uint64_t{1} << handover.ring_log2)
    context.findings.error("dma-engine.ring", subtree.phys, "{} buffers for a ring of 2^{} slots: {}",
                           handover.buffer_count, handover.ring_log2, kRefused);
  subtree.fields.push_back({"buffers",
                            uint64_t{handover.buffer_count},
                            Item::Show::kNumber,
                            {bytes("buffer_size", handover.buffer_size), number("records", buffers.records),
                             bytes("memory", buffers.bytes), number("being_exchanged", pending)}});
  decode_live_state(context, subtree, handover.live);
}

void decode_allocation_pool(Context& context, Subtree& subtree, std::span<const std::byte> blob) {
  abi::AllocationPoolState state;
  std::memcpy(&state, blob.data(), sizeof state);
  Tally tally;
  const auto entries = context.for_each_entry(
      PhysAddr(state.tokens), sizeof(uint64_t), "a block of tokens", "the pool cannot be restored",
      [&](const std::byte* bytes, PhysAddr) {
        uint64_t token;
        std::memcpy(&token, bytes, sizeof token);
        (void)read_record(context, token, "an allocation of the pool", tally);
      });
  if (entries.has_value() && *entries != state.count)
    context.findings.error("pool.count", subtree.phys, "the pool says {} allocations and lists {}", state.count, *entries);
  subtree.fields = {number("allocations", state.count), number("records", tally.records), bytes("memory", tally.bytes)};
}

}  // namespace causeway::inspect
