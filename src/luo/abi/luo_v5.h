// The handover ABI `luo-v5`, byte for byte as Linux 7.3 writes and checks it: what lies behind the subtree `LUO`.
// Packed, host-endian (little), 4 KiB pages.
//
// Source: Linux 7.3, include/linux/kho/abi/luo.h.
//
//   subtree "LUO" -> Ser -> sessions: chain of blocks of SessionSer -> files: chain of blocks of FileSer
//                        '-> flbs: one page, FlbHeaderSer and up to 63 FlbSer
//
// Chains are kho_block chains (kho/abi/kho_v4.h: BlockHeader). Sessions stand in the order of their creation,
// files in that of their preservation, FLBs in that of their registration.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kho/abi/kho_v4.h"

namespace causeway::luo::abi {

inline constexpr char kSubtree[] = "LUO";
inline constexpr char kCompatible[8] = "luo-v5";  // compared over all 8 bytes
inline constexpr unsigned kNameLength = 64;       // of a session; 63 bytes and a NUL at most
inline constexpr unsigned kCompatibleLength = 48; // of a file handler or an FLB, the NUL included

struct [[gnu::packed]] Ser {
  char compatible[8];
  uint64_t liveupdate_num;  // that of the kernel before plus one; 1 on the first update
  uint64_t sessions_pa;     // first block of SessionSer, 0: no sessions
  uint64_t flbs_pa;         // the FLB page
};
static_assert(sizeof(Ser) == 32 && offsetof(Ser, flbs_pa) == 24);

struct [[gnu::packed]] FileSetSer {
  uint64_t files;  // first block of FileSer, 0: no files
  uint64_t count;  // entries in the whole chain
};
struct [[gnu::packed]] SessionSer {
  char name[kNameLength];
  FileSetSer file_set;
};
static_assert(sizeof(SessionSer) == 80 && offsetof(SessionSer, file_set) == 64);

struct [[gnu::packed]] FileSer {
  char compatible[kCompatibleLength];  // of the handler
  uint64_t data;                       // the handler's own; for memfd the address of its descriptor
  uint64_t token;
};
static_assert(sizeof(FileSer) == 64 && offsetof(FileSer, token) == 56);

struct [[gnu::packed]] FlbHeaderSer {
  uint64_t page_count;  // 1
  uint64_t count;       // entries
};
struct [[gnu::packed]] FlbSer {
  char name[kCompatibleLength];
  uint64_t data;
  uint64_t count;  // files that depend on it
};
static_assert(sizeof(FlbHeaderSer) == 16 && sizeof(FlbSer) == 64 && offsetof(FlbSer, count) == 56);

inline constexpr uint64_t kSessionsPerBlock = kho::abi::block_capacity(sizeof(SessionSer));
inline constexpr uint64_t kFilesPerBlock = kho::abi::block_capacity(sizeof(FileSer));
inline constexpr uint64_t kMaxFlbs = (kPageSize - sizeof(FlbHeaderSer)) / sizeof(FlbSer);
static_assert(kSessionsPerBlock == 51 && kFilesPerBlock == 63 && kMaxFlbs == 63);

}  // namespace causeway::luo::abi
