// What the NVMe driver hands to its successor: subtree "nvme-BB:DD.F", blob = Handover and the tokens behind it.
//
//   Handover (made anew by every generation)
//     |-- tokens of the queues' rings and of the pages with PRP lists
//     |-- physical addresses of the data buffers: queues * depth of them, right behind the Handover
//     |-- kIommu: behind those, physical addresses of the queues' mapping records
//     '-- queue[i].live --> LiveState (the same pages in every generation)
//
// As with the DMA engine the two are apart because a kernel may die at any instruction. LiveState has the command table:
// which commands the controller has, and what was meant to happen when they complete. With the controller's own indices
// it says where to go on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace causeway::drivers::nvme::abi {

inline constexpr char kCompatible[32] = "causeway,nvme-v1";
inline constexpr unsigned kMaxQueues = 8;
inline constexpr unsigned kMaxDepth = 128;  // commands of a queue

struct QueueHandover {
  uint64_t submission, completion, lists;  // tokens
  uint64_t live;                           // physical address of LiveState
  uint32_t vector;
  uint32_t reserved;
};
static_assert(sizeof(QueueHandover) == 40);

struct Handover {
  char compatible[32];
  uint32_t queues;
  uint32_t depth;          // commands, and data buffers, of a queue
  uint32_t entries;        // of an I/O ring
  uint32_t admin_entries;
  uint32_t io_size;        // bytes of a data buffer
  uint32_t block_log2;     // bytes of a logical block
  uint32_t epoch;          // the controller's, when it was enabled
  uint32_t flags;          // kSgl, kPolled
  uint64_t max_transfer;   // bytes of one command
  uint64_t blocks;         // of the namespace
  uint64_t file_bytes;     // of the workload; 0: there is none
  uint64_t seed;           // of the workload
  uint64_t admin_submission, admin_completion, admin_buffer;  // tokens
  QueueHandover queue[kMaxQueues];
};
static_assert(sizeof(Handover) == 120 + kMaxQueues * sizeof(QueueHandover));
inline constexpr uint32_t kSgl = 1u << 0;     // the controller takes SGLs and the driver uses them
inline constexpr uint32_t kPolled = 1u << 1;  // no interrupts
inline constexpr uint32_t kIommu = 1u << 2;   // all addresses are those of the controller's domain

enum class CommandState : uint8_t {
  kIdle = 0,
  kInFlight = 1,
  kRetired = 2,  // given up; its buffer is the controller's until it completes after all
};
enum class Owner : uint8_t { kCaller = 0, kWorkload = 1 };

// One command identifier. The identifier the controller sees is `generation` << 8 | index, so that a completion that
// comes twice is not taken for that of the next command.
struct CommandEntry {
  CommandState state;
  Owner owner;
  uint8_t opcode;
  uint8_t generation;
  uint32_t blocks;
  uint64_t lba;
  uint64_t tag;           // the owner's
  uint64_t submitted_ns;  // CLOCK_MONOTONIC
};
static_assert(sizeof(CommandEntry) == 32);

// Behind an IOMMU: what the data of one command is mapped as, a page for each identifier. Written while the identifier is
// idle, and the truth when it is not. The successor claims the mappings, and unmaps them when the command completes.
inline constexpr unsigned kMaxPieces = 255;
enum MappingFlag : uint32_t {
  kOneRange = 1u << 0,      // one piece, linked
  kMmio = 1u << 1,          // memory of a peer
  kFromDevice = 1u << 2,    // the controller writes to it
};
struct MappingRecord {
  uint32_t count;  // of pieces; 0: nothing is mapped
  uint32_t flags;
  uint64_t reserved;
  struct Piece {
    uint64_t address;
    uint64_t length;
  } piece[kMaxPieces];
};
static_assert(sizeof(MappingRecord) == kPageSize);

// Since the controller was enabled, over all kernels.
struct Counters {
  uint64_t reads, writes, flushes;     // completed well
  uint64_t bytes_read, bytes_written;
  uint64_t verified;                   // bytes read back that were right
  uint64_t lost;                       // commands that did not complete in time
  uint64_t duplicated;                 // completions of commands that were not in flight
  uint64_t corrupted;                  // blocks read back that were wrong
  uint64_t refused;                    // commands that completed with an error
  uint64_t late;                       // of the lost ones, completed after all
  uint64_t last_work_ns;               // CLOCK_MONOTONIC, newest completion consumed
};
static_assert(sizeof(Counters) == 96);

// Where the workload stands on this queue.
inline constexpr unsigned kMaxRedo = 15;
struct WorkloadState {
  uint64_t pass;           // from 0; each has a seed of its own
  uint64_t next;           // unit to be submitted next
  uint32_t reading;        // 0: the pass writes, 1: it reads back
  uint32_t redo_count;
  uint64_t redo[kMaxRedo];  // units to be done again: attempts so far << 56 | unit
};
static_assert(sizeof(WorkloadState) == 144);

struct QueueState {
  uint64_t generation;  // of the kernel that wrote it
  uint64_t consumed;    // completions, since the queue was created: slot = consumed % entries
  uint64_t submitted;   // commands, the same
  Counters counters;
  WorkloadState workload;
  CommandEntry command[kMaxDepth];
};
static_assert(sizeof(QueueState) == 24 + 96 + 144 + kMaxDepth * sizeof(CommandEntry));

// Every step is prepared in the slot that is not current, and becomes the truth with the store to `current`. Only then
// are the doorbells rung, so what a dead kernel had half done is still there to be done again.
struct LiveState {
  std::atomic<uint64_t> current;  // 0 or 1
  QueueState slot[2];
};
static_assert(sizeof(LiveState) == 8 + 2 * sizeof(QueueState));

}  // namespace causeway::drivers::nvme::abi
