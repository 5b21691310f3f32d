// The handover ABI `kho-v4`, byte for byte as Linux 7.3 writes and checks it. Nobody else knows an
// offset. Host-endian (little) throughout, FDT property payloads included; 4 KiB pages.
//
// Source: Linux 7.3, include/linux/kho/abi/kexec_handover.h.
//
//   root FDT (one page): /compatible = "kho-v4", /preserved-memory-map = u64 physical root of the tree,
//                        /NAME/{preserved-data, blob-size} = u64, u64 per subtree
//   tree node, levels 5..1: 512 x u64 physical address of the child, 0 = absent
//   tree leaf, level 0:     32768-bit bitmap
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace causeway::kho::abi {

inline constexpr char kCompatible[] = "kho-v4";
inline constexpr char kPropCompatible[] = "compatible";
inline constexpr char kPropMemoryMap[] = "preserved-memory-map";
inline constexpr char kPropSubtreePhys[] = "preserved-data";
inline constexpr char kPropSubtreeSize[] = "blob-size";
inline constexpr char kMetadataSubtree[] = "kexec-metadata";

// Radix tree. A key is the order bit, 1 << (52 - order), over the frame number shifted right by order.
inline constexpr unsigned kKeyBits = 53;
inline constexpr unsigned kTableLog2 = 9;
inline constexpr unsigned kBitmapLog2 = 15;
inline constexpr unsigned kTreeDepth = 6;
inline constexpr unsigned kTableEntries = 1u << kTableLog2;
inline constexpr unsigned kLeafBits = 1u << kBitmapLog2;
struct RadixNode {
  uint64_t child[kTableEntries];
};
struct RadixLeaf {
  uint64_t bitmap[kLeafBits / 64];
};
static_assert(sizeof(RadixNode) == kPageSize && sizeof(RadixLeaf) == kPageSize);
static_assert(kBitmapLog2 + (kTreeDepth - 1) * kTableLog2 == 60, "bits 60..63 of a key are not indexed");

// One scratch area in the array that the boot protocol passes beside the FDT.
struct ScratchEntry {
  uint64_t addr;
  uint64_t size;  // bytes
};
static_assert(sizeof(ScratchEntry) == 16);

// A preserved vmalloc area, and one page of its list of page addresses.
inline constexpr uint16_t kVmallocFlagAlloc = 0x1;
inline constexpr uint16_t kVmallocFlagHuge = 0x2;
struct VmallocDescriptor {
  uint64_t first;        // physical address of the first chunk
  uint32_t total_pages;
  uint16_t flags;
  uint16_t order;        // each address stands for 2^order pages
};
static_assert(sizeof(VmallocDescriptor) == 16 && offsetof(VmallocDescriptor, order) == 14);
inline constexpr unsigned kVmallocChunkEntries = 511;
struct VmallocChunk {
  uint64_t next;  // physical, 0 ends the chain
  uint64_t phys[kVmallocChunkEntries];  // zero-terminated unless full
};
static_assert(sizeof(VmallocChunk) == kPageSize);

// A chain of blocks of fixed-size entries.
struct BlockHeader {
  uint64_t next;   // physical, 0 ends the chain
  uint64_t count;  // valid entries in this block
};
static_assert(sizeof(BlockHeader) == 16);
inline constexpr uint64_t kBlockSize = kPageSize;
inline constexpr unsigned kMaxBlocks = 10000;
constexpr uint64_t block_capacity(uint64_t entry_size) { return (kBlockSize - sizeof(BlockHeader)) / entry_size; }

// Subtree `kexec-metadata`.
inline constexpr uint32_t kMetadataVersion = 1;
struct [[gnu::packed]] KexecMetadata {
  uint32_t version;
  char previous_release[65];
  uint32_t kexec_count;
};
static_assert(sizeof(KexecMetadata) == 73 && offsetof(KexecMetadata, kexec_count) == 69);

// struct page->private of the head of a preserved block, between boot and restore.
inline constexpr uint64_t kPageMagic = 0x4b484f50;  // "KHOP", in the high half; order in the low half
constexpr uint64_t page_stamp(Order order) { return kPageMagic << 32 | order.value(); }

}  // namespace causeway::kho::abi
