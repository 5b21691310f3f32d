// The record of one preserved DMA allocation, as handed to the next kernel.
//
// The posted series has {page_phys, size, force_decrypted} in a page of its own per allocation. The review
// asked for the attributes; Causeway adds what a new kernel needs in order to refuse instead of guess, and
// packs records into shared pages, since a driver has thousands. A record's physical address is the
// token the driver carries. All padding is zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace causeway::dma::abi {

inline constexpr uint32_t kAllocMagic = 0x31414d44;  // "DMA1"
inline constexpr uint16_t kAllocVersion = 1;

enum AllocFlag : uint16_t {
  kForceDecrypted = 1u << 0,
  kRemapped = 1u << 1,
  kUncached = 1u << 2,
  kCoherentDevice = 1u << 3,
  kIommuMapped = 1u << 4,  // dma_handle is an address of the device's domain, which is handed over by itself
};

struct AllocRecord {
  uint32_t magic;        // 0: a free record
  uint16_t version;
  uint16_t flags;        // AllocFlag
  uint64_t page_phys;
  uint64_t size;         // bytes the driver asked for
  uint32_t order;        // of the block: get_order(size)
  uint32_t reserved;
  uint64_t attrs;        // the canonical ones: those that must not change
  uint64_t dma_handle;   // what the device was programmed with
  uint64_t requester;    // XXH64 of the device's name: a token is good for its device alone
  uint64_t checksum;     // XXH64 of the bytes before it, seeded with the record's physical address
};
static_assert(sizeof(AllocRecord) == 64 && offsetof(AllocRecord, checksum) == 56);

// A page of records: the first slot is its header.
inline constexpr uint32_t kRecordPageMagic = 0x50414d44;  // "DMAP"
struct RecordPageHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t reserved;
  uint64_t zero[7];
};
static_assert(sizeof(RecordPageHeader) == sizeof(AllocRecord));
inline constexpr unsigned kRecordsPerPage = kPageSize / sizeof(AllocRecord) - 1;

}  // namespace causeway::dma::abi
