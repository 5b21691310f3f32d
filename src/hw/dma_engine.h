// The DMA engine: a bus master with two queues.
//
//   queue 0, kWorkQueue:   copy and fill, one descriptor per operation, as the driver asks.
//   queue 1, kStreamQueue: the device receives records out of nothing at a set rate, as a NIC
//                          receives packets, and writes each into the next buffer the driver posted.
//
// Both queues have a descriptor ring and a completion ring in system memory. All indices run freely
// (32 bit, wrap) and are taken modulo the ring size:
//
//        driver writes descriptors, then kTail          device reads them up to kTail: kHead
//        device writes completions, then kCompTail      driver consumes them, then writes kCompHead
//
// Every index is readable, so that a driver of another generation can continue where the last one
// stopped: descriptors [kHead, kTail) are posted and not yet used, completions [kCompHead, kCompTail)
// are waiting. The device stops using descriptors when the completion ring is full.
//
// The device writes a buffer, then its completion, then kCompTail: whoever sees kCompTail (acquire)
// sees the rest. A DMA that is refused (no RAM there, above the device's address width) becomes a
// completion with a status, never a crash; the descriptor is used up. kHead moves when a descriptor
// is taken, so kHead - kCompTail descriptors (0 or 1) are in the device's hands.
//
// While bus mastering is off no DMA is possible, not even to the rings: the queues stand still, and a
// transfer that was cut off goes on when it comes back. A refused ring access halts its queue.
//
// kRingBase, kCompBase, kRingLog2 and kRecordSize can be written only while the queue is disabled;
// a value the device cannot use (a tail beyond the ring, an unknown width) is ignored and logged.
// Disabling a queue pauses it and keeps every index; only ControlReset forgets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"

namespace causeway::hw::dma_engine {

inline constexpr uint16_t kVendor = 0xca5e;
inline constexpr uint16_t kDevice = 0xd3a0;
inline constexpr uint32_t kClassCode = 0x088000;  // other system peripheral
inline constexpr uint64_t kBar0Size = 0x1000;

// Registers of BAR 0. All are 32 bit unless marked u64; all are free of side effects on read, but kIntCause.
inline constexpr uint32_t kVersion = 0x00;  // RO: kVersionValue
inline constexpr uint32_t kVersionValue = 0x00010000;
inline constexpr uint32_t kControl = 0x04;       // RW
inline constexpr uint32_t kDeviceStatus = 0x08;  // RO
inline constexpr uint32_t kEpoch = 0x0c;         // RO: resets since power-on; a live update leaves it alone
inline constexpr uint32_t kAddressWidth = 0x10;  // RW: bits of DMA address the device drives: 32, 40 or 64
inline constexpr uint32_t kIntCause = 0x14;      // read clears: bit n set = queue n has new completions

// kControl
using ControlReset = Field<0, 0>;  // write 1: stop, forget both queues, raise kEpoch; reads 0 when done
using ControlInterrupts = Field<1, 1>;
// kDeviceStatus
using StatusBusy = Field<1, 0>;    // bit n: queue n has a DMA in flight
using StatusHalted = Field<9, 8>;  // bit n: queue n was refused its own rings; only a reset helps

inline constexpr unsigned kWorkQueue = 0;
inline constexpr unsigned kStreamQueue = 1;
inline constexpr unsigned kQueues = 2;
// Register block of a queue; the offsets below are relative to it.
constexpr uint32_t queue_base(unsigned queue) {
  return 0x100 + queue * 0x100;
}

inline constexpr uint32_t kRingBase = 0x00;  // RW u64: bus address of the descriptor ring, 64-byte aligned
inline constexpr uint32_t kCompBase = 0x08;  // RW u64: bus address of the completion ring
inline constexpr uint32_t kRingLog2 = 0x10;  // RW: log2 of the entries of both rings, 1..16
inline constexpr uint32_t kQueueControl = 0x14;  // RW
inline constexpr uint32_t kTail = 0x18;          // RW: descriptors produced by the driver
inline constexpr uint32_t kHead = 0x1c;          // RO: descriptors used by the device
inline constexpr uint32_t kCompTail = 0x20;      // RO: completions produced by the device
inline constexpr uint32_t kCompHead = 0x24;      // RW: completions consumed by the driver
inline constexpr uint32_t kRate = 0x28;          // RW: stream records per second; 0: none
inline constexpr uint32_t kRecordSize = 0x2c;  // RW: bytes of a record: sizeof(RecordHeader)..kMaxRecordSize
inline constexpr uint32_t kMaxRecordSize = 1 << 20;
inline constexpr uint32_t kMinRingLog2 = 1;
inline constexpr uint32_t kMaxRingLog2 = 16;
inline constexpr uint64_t kRingAlignment = 64;
// Counters since reset, RO u64.
inline constexpr uint32_t kCompleted = 0x40;  // transfers that ended well
inline constexpr uint32_t kBytes = 0x48;      // bytes they moved
inline constexpr uint32_t kRefused = 0x50;    // transfers refused (a status other than kOk)
inline constexpr uint32_t kDropped = 0x58;    // stream records lost because no buffer was posted
inline constexpr uint32_t kStarved = 0x60;    // nanoseconds spent waiting for a posted buffer (OverrunHold)
inline constexpr uint32_t kNextSequence = 0x68;  // stream: sequence number of the next record
inline constexpr uint32_t kMaxGap = 0x70;        // stream: longest time between two transfers, nanoseconds
inline constexpr uint32_t kMaxLate =
    0x78;  // stream: the most the device itself was late for its own pacing, ns
inline constexpr uint32_t kResetGap = 0x80;  // WO: write 1 to restart kMaxGap and kMaxLate

// The stream's source produces record i at t0 + i / kRate. Without a buffer (or with a full completion
// ring) it stands still under OverrunHold, and kStarved counts the time; else the record is lost, and
// kDropped counts it. A device thread that is late itself catches up in a burst of at most one ring.
// A refused record is lost (its completion has its sequence number); a bad descriptor costs no record.

// kQueueControl
using QueueEnable = Field<0, 0>;
using OverrunHold = Field<1, 1>;  // no buffer posted: 1 = hold the record and wait, 0 = drop it

enum class Op : uint8_t { kCopy = 1, kFill = 2, kStream = 3 };

struct Descriptor {
  uint64_t source;       // kCopy: bus address; kFill: the 8 bytes to repeat, little endian
  uint64_t destination;  // bus address
  uint32_t length;       // bytes; kStream: room in the buffer
  Op op;
  uint8_t flags;    // kWithPasid and kAskForPages of copies and fills; others: 0
  uint16_t pasid;   // without kWithPasid: 0
  uint64_t cookie;  // comes back in the completion
};
static_assert(sizeof(Descriptor) == 32);

// Source and destination are addresses of the address space `pasid`; the rings never are.
inline constexpr uint8_t kWithPasid = 1;
// A page that the IOMMU refuses is asked for (PRI), and tried again once there is an answer. The queue stands still
// meanwhile; a reset drops the operation.
inline constexpr uint8_t kAskForPages = 2;

enum class TransferStatus : uint16_t {
  kOk = 0,
  kRefusedSource = 1,       // no RAM at the source, or above the address width
  kRefusedDestination = 2,  // the same at the destination
  kBadDescriptor = 3,       // unknown op, length 0 or too small, reserved bits set
};

struct Completion {
  uint64_t cookie;
  uint64_t sequence;  // stream: of the record; others: 0
  uint32_t length;    // bytes written
  TransferStatus status;
  uint16_t reserved;
  uint32_t descriptor;  // free-running index of the descriptor it answers
  uint32_t reserved2;
};
static_assert(sizeof(Completion) == 32);

// What the device writes at the start of a stream buffer; the payload follows. The payload is a
// function of the sequence number alone, so a reader can tell a wrong record from a damaged one.
inline constexpr uint32_t kRecordMagic = 0x43524d44;
struct RecordHeader {
  uint32_t magic;
  uint32_t length;  // of header and payload
  uint64_t sequence;
  uint64_t time_ns;   // CLOCK_MONOTONIC when the device began to write it
  uint64_t checksum;  // XXH3_64bits of the payload, seeded with `sequence`
};
static_assert(sizeof(RecordHeader) == 32);

}  // namespace causeway::hw::dma_engine
