#include "hw/stream_record.h"

#include <xxhash.h>

#include <cstring>

namespace causeway::hw::dma_engine {
namespace {

// An odd multiplier walks through all 2^64 values; folding the high half down makes every byte vary.
// Two operations per word, no dependency from word to word: the compiler turns it into vectors.
constexpr uint64_t kStep = 0x9e3779b97f4a7c15;

constexpr uint64_t first_word(uint64_t sequence) {
  uint64_t mixed = (sequence + 1) * 0xbf58476d1ce4e5b9;
  return mixed ^ mixed >> 31;
}
constexpr uint64_t fold(uint64_t word) {
  return word ^ word >> 29;
}

}  // namespace

void fill_payload(std::byte* payload, size_t bytes, uint64_t sequence) {
  uint64_t word = first_word(sequence);
  size_t words = bytes / 8;
  for (size_t i = 0; i < words; ++i) {
    uint64_t value = fold(word + i * kStep);
    std::memcpy(payload + i * 8, &value, 8);
  }
  if (size_t rest = bytes % 8; rest != 0) {
    uint64_t value = fold(word + words * kStep);
    std::memcpy(payload + words * 8, &value, rest);
  }
}

uint64_t payload_checksum(const std::byte* payload, size_t bytes, uint64_t sequence) {
  return XXH3_64bits_withSeed(payload, bytes, sequence);
}

void make_record(std::byte* buffer, uint32_t length, uint64_t sequence, uint64_t time_ns) {
  std::byte* payload = buffer + sizeof(RecordHeader);
  size_t payload_bytes = length - sizeof(RecordHeader);
  fill_payload(payload, payload_bytes, sequence);
  RecordHeader header{kRecordMagic, length, sequence, time_ns,
                      payload_checksum(payload, payload_bytes, sequence)};
  std::memcpy(buffer, &header, sizeof header);
}

const char* name_of(RecordFault fault) {
  switch (fault) {
    case RecordFault::kNone:
      return "intact";
    case RecordFault::kMagic:
      return "no record magic";
    case RecordFault::kLength:
      return "wrong length";
    case RecordFault::kSequence:
      return "wrong sequence number";
    case RecordFault::kChecksum:
      return "checksum mismatch";
    case RecordFault::kPayload:
      return "payload of another record";
  }
  return "?";
}

RecordFault check_record(const std::byte* buffer, uint32_t length, uint64_t sequence, CheckDepth depth) {
  RecordHeader header;
  std::memcpy(&header, buffer, sizeof header);
  if (header.magic != kRecordMagic) return RecordFault::kMagic;
  if (header.length != length) return RecordFault::kLength;
  if (header.sequence != sequence) return RecordFault::kSequence;
  const std::byte* payload = buffer + sizeof header;
  size_t bytes = length - sizeof header;
  if (payload_checksum(payload, bytes, sequence) != header.checksum) return RecordFault::kChecksum;
  if (depth == CheckDepth::kPayload) {
    std::byte expected[512];
    // Whole words per piece, so that the pieces line up with the payload's words.
    uint64_t word = first_word(sequence);
    for (size_t done = 0; done < bytes; done += sizeof expected) {
      size_t piece = bytes - done < sizeof expected ? bytes - done : sizeof expected;
      for (size_t i = 0; i * 8 < sizeof expected; ++i) {
        uint64_t value = fold(word + (done / 8 + i) * kStep);
        std::memcpy(expected + i * 8, &value, 8);
      }
      if (std::memcmp(expected, payload + done, piece) != 0) return RecordFault::kPayload;
    }
  }
  return RecordFault::kNone;
}

}  // namespace causeway::hw::dma_engine
