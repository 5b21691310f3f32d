// A handover of Causeway's drivers: a DMA engine with two stream buffers, a pool of three allocations, a reserve_mem region.
#pragma once

#include <libfdt.h>
#include <xxhash.h>

#include "dma/abi/alloc_v1.h"
#include "drivers/abi/allocation_pool_v1.h"
#include "drivers/abi/dma_engine_v1.h"
#include "inspect/testing/image_builder.h"

namespace causeway::inspect {

class DriverExample : public ImageBuilder {
 public:
  static constexpr uint64_t kEngine = 0x101000, kLive = 0x102000, kBuffers = 0x103000, kRecords = 0x104000,
                            kPool = 0x105000, kTokens = 0x106000, kMemblock = 0x107000, kRegion = 0x800000;

  explicit DriverExample(kho::Format format = kho::Format::kV4) : ImageBuilder(format, 0x180000) {
    for (uint64_t at = kFdt; at <= kMemblock; at += kPageSize) preserve(at, 0);
    put(kRecords, dma::abi::RecordPageHeader{.magic = dma::abi::kRecordPageMagic, .version = 1});

    drivers::abi::Handover engine{.live = kLive, .buffers = kBuffers, .buffer_count = 2, .buffer_size = 8192, .ring_log2 = 1,
                                  .work_log2 = 4, .address_width = 64, .vector = 3};
    std::memcpy(engine.compatible, drivers::abi::kCompatible, sizeof engine.compatible);
    engine.stream_ring = record(1);
    engine.stream_completions = record(1);
    engine.work_ring = record(2);
    engine.work_completions = record(0);
    engine.work_buffer[0] = record(3);
    engine.work_buffer[1] = record(3);
    put(kEngine, engine);
    put(kLive, uint64_t{1});
    put(kLive + offsetof(drivers::abi::LiveState, slot) + sizeof(drivers::abi::Counters),
        drivers::abi::Counters{.generation = 7, .consumed = 99, .records = 98, .bytes = 123456, .lost = 1});
    put(kBuffers, kho::abi::BlockHeader{0, 2});
    put(kBuffers + 16, drivers::abi::BufferEntry{record(1), 0});
    put(kBuffers + 32, drivers::abi::BufferEntry{record(1), record(1)});

    drivers::abi::AllocationPoolState pool{.tokens = kTokens, .count = 3};
    std::memcpy(pool.compatible, drivers::abi::kAllocationPoolCompatible, sizeof pool.compatible);
    put(kPool, pool);
    put(kTokens, kho::abi::BlockHeader{0, 3});
    for (uint64_t i = 0; i < 3; ++i) put(kTokens + 16 + i * 8, record(0));

    alignas(8) std::array<char, 1024> fdt;
    const uint64_t start = kRegion, size = 8192;
    fdt_create_empty_tree(fdt.data(), fdt.size());
    fdt_setprop_string(fdt.data(), 0, "compatible", "memblock-v1");
    const int node = fdt_add_subnode(fdt.data(), 0, "trace");
    fdt_setprop_string(fdt.data(), node, "compatible", "reserve-mem-v1");
    fdt_setprop(fdt.data(), node, "start", &start, sizeof start);
    fdt_setprop(fdt.data(), node, "size", &size, sizeof size);
    fdt_pack(fdt.data());
    text(kMemblock, {fdt.data(), fdt_totalsize(fdt.data())});
    preserve(kRegion, 1);

    subtree("memblock", kMemblock, fdt_totalsize(fdt.data()));
    subtree("allocation-pool", kPool, sizeof pool);
    subtree("dma-engine-00:01.0", kEngine, sizeof engine);
  }
  // A new allocation of that order; returns its token.
  uint64_t record(unsigned order) {
    const uint64_t where = kRecords + ++records_ * sizeof(dma::abi::AllocRecord);
    memory_ = align_up(memory_, kPageSize << order);
    dma::abi::AllocRecord record{.magic = dma::abi::kAllocMagic, .version = dma::abi::kAllocVersion, .page_phys = memory_,
                                 .size = kPageSize << order, .order = order, .dma_handle = memory_};
    record.checksum = XXH64(&record, offsetof(dma::abi::AllocRecord, checksum), where);
    put(where, record);
    preserve(memory_, order);
    memory_ += kPageSize << order;
    return where;
  }

 private:
  uint64_t records_ = 0;
  uint64_t memory_ = 0x400000;
};

}  // namespace causeway::inspect
