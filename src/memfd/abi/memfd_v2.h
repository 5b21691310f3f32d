// The record `memfd-v2`: how a preserved memfd is described to the next kernel, byte for byte as Linux 7.3 does.
//
// Source: Linux 7.3, include/linux/kho/abi/memfd.h.
//
//   FileSer::data -> Ser (one preserved page) -> folios: a preserved vmalloc array of FolioSer, in file order
#pragma once

#include <cstddef>
#include <cstdint>

#include "kho/abi/kho_v4.h"

namespace causeway::memfd::abi {

inline constexpr char kCompatible[] = "memfd-v2";

struct [[gnu::packed]] Ser {
  uint64_t position;  // of the open file, as of the freeze
  uint64_t size;      // bytes, not rounded
  uint32_t seals;     // kSeal*
  uint32_t flags;     // 0
  uint64_t nr_folios;
  kho::abi::VmallocDescriptor folios;  // all zero if there are none
};
static_assert(sizeof(Ser) == 48 && offsetof(Ser, seals) == 16 && offsetof(Ser, folios) == 32);

// One folio; its order is that of the preserved block at its address.
struct FolioSer {
  uint64_t pfn_and_flags;  // frame number in bits 51..0, kFolio* in bits 63..52; frame 0: no folio, skipped
  uint64_t index;          // of its first page in the file
};
static_assert(sizeof(FolioSer) == 16);
inline constexpr unsigned kFolioPfnBits = 52;
inline constexpr uint64_t kFolioDirty = 1;
inline constexpr uint64_t kFolioUptodate = 2;  // the writer always sets both
constexpr uint64_t folio_pfn(const FolioSer& folio) { return folio.pfn_and_flags & ((uint64_t{1} << kFolioPfnBits) - 1); }
constexpr uint64_t folio_flags(const FolioSer& folio) { return folio.pfn_and_flags >> kFolioPfnBits; }
constexpr FolioSer make_folio(uint64_t pfn, uint64_t index) {
  return {pfn | (kFolioDirty | kFolioUptodate) << kFolioPfnBits, index};
}
static_assert(make_folio(0x12345, 0).pfn_and_flags == 0x0030000000012345);

// F_SEAL_*: what the reader accepts.
inline constexpr uint32_t kSealSeal = 0x1;
inline constexpr uint32_t kSealsSupported = 0x3f;

}  // namespace causeway::memfd::abi
