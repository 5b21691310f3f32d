// The contents of a stream record (hw/dma_engine.h): made by the device, checked by whoever reads it.
//
//   make_record(buffer, 4096, sequence, monotonic_ns());
//   RecordFault fault = check_record(buffer, 4096, sequence);
//   if (fault != RecordFault::kNone) log::error("stream", "record {}: {}", sequence, name_of(fault));
//
// Payload word i of record s is a mix of s and i alone, so that a record in the wrong place, an old
// one and a damaged one can be told apart.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hw/dma_engine.h"

namespace causeway::hw::dma_engine {

// Fills `bytes` bytes with the payload of record `sequence`, from its start. Any length, any alignment.
void fill_payload(std::byte* payload, size_t bytes, uint64_t sequence);

// XXH3_64bits of the payload, seeded with `sequence`.
uint64_t payload_checksum(const std::byte* payload, size_t bytes, uint64_t sequence);

// Writes header and payload; `length` bytes in all, at least sizeof(RecordHeader).
void make_record(std::byte* buffer, uint32_t length, uint64_t sequence, uint64_t time_ns);

enum class RecordFault : uint8_t {
  kNone,
  kMagic,     // not a record at all
  kLength,    // the header's length is not `length`
  kSequence,  // a whole record, but another one
  kChecksum,  // payload or checksum damaged
  kPayload,   // the checksum fits, yet it is not the payload of this sequence number
};
const char* name_of(RecordFault fault);

// How far to look: the checksum alone, or also word by word whether the payload is the right one.
enum class CheckDepth : uint8_t { kChecksum, kPayload };

// Examines `length` bytes, at least sizeof(RecordHeader), as record `sequence`.
RecordFault check_record(const std::byte* buffer, uint32_t length, uint64_t sequence,
                         CheckDepth depth = CheckDepth::kChecksum);

}  // namespace causeway::hw::dma_engine
