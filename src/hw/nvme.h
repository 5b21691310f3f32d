// The NVMe controller: a PCI function that reads and writes a namespace of logical blocks.
//
// Layouts of NVM Express Base Specification 1.4 (June 2019); sections and figures named below are its.
// Fields have its names and order. What is not in it is in the range it leaves to vendors (section 3.1, after
// the doorbells) and is named kCw... here.
//
//   offset in BAR 0  | what
//   0x0000           | controller registers, section 3.1
//   kDoorbells       | doorbells, stride 4 bytes
//   kMsixTable       | MSI-X table, 16 bytes an entry; kMsixPba: pending bits
//   kCwRegisters     | Causeway's own, read-only
//   CMBLOC, CMBSZ    | controller memory buffer
//
//   Command read{.opcode = opcode::kRead, .cid = 7, .nsid = 1, .prp1 = page};
//   set_lba(read, lba, blocks);
//   ring[tail] = read;                       // then write `tail + 1` to sq_doorbell(queue)
//   ...
//   Completion done = load(cq[head]);        // is new when status_phase(done.status) == expected phase
//
// Nothing but the controller memory buffer is memory: a device that addresses the other parts of BAR 0 is
// refused.
//
// What the model promises beyond the document:
//  - While bus mastering is off the queues stand still, and go on when it comes back; a command that was cut
//  off is
//    executed again from its start.
//  - A ring that cannot be read or written is CSTS.CFS: every queue stops until CC.EN goes to 0.
//  - Every index is readable (kCwQueue...), so that a driver of another generation can go on from the
//  registers
//    alone, with the controller running. See "Taking over" below.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/bits.h"

namespace causeway::hw::nvme {

inline constexpr uint16_t kVendor = 0xca5e;
inline constexpr uint16_t kDevice = 0x0010;
inline constexpr uint32_t kClassCode = 0x010802;  // mass storage, non-volatile memory, NVM Express

// ---- Controller registers (section 3.1). u64 ones may be written in halves, the low one at the offset.
inline constexpr uint32_t kCap = 0x00;     // RO u64
inline constexpr uint32_t kVs = 0x08;      // RO: kVersion14
inline constexpr uint32_t kIntms = 0x0c;   // write 1 to mask; meaningful without MSI-X alone
inline constexpr uint32_t kIntmc = 0x10;   // write 1 to unmask
inline constexpr uint32_t kCc = 0x14;      // RW
inline constexpr uint32_t kCsts = 0x1c;    // RO
inline constexpr uint32_t kAqa = 0x24;     // RW while CC.EN = 0
inline constexpr uint32_t kAsq = 0x28;     // RW u64 while CC.EN = 0: page-aligned bus address
inline constexpr uint32_t kAcq = 0x30;     // the same
inline constexpr uint32_t kCmbloc = 0x38;  // RO; 0 until CMBMSC.CRE
inline constexpr uint32_t kCmbsz = 0x3c;   // RO; 0 until CMBMSC.CRE, and without a buffer
inline constexpr uint32_t kCmbmsc =
    0x50;  // RW u64; a controller reset keeps it, as it keeps AQA, ASQ and ACQ
inline constexpr uint32_t kCmbsts = 0x58;  // RO
inline constexpr uint32_t kVersion14 = 0x00010400;

// CAP
using CapMqes = Field<15, 0>;     // entries of an I/O queue, minus 1
using CapCqr = Field<16, 16>;     // queues must be physically contiguous: 1
using CapAms = Field<18, 17>;     // arbitration: 0, round robin alone
using CapTo = Field<31, 24>;      // longest time until CSTS.RDY follows CC.EN, in 500 ms
using CapDstrd = Field<35, 32>;   // doorbell stride 4 << DSTRD bytes: 0
using CapNssrs = Field<36, 36>;   // 0
using CapCss = Field<44, 37>;     // bit 0: NVM command set
using CapMpsmin = Field<51, 48>;  // 4096 << n: 0
using CapMpsmax = Field<55, 52>;  // 0
using CapPmrs = Field<56, 56>;    // 0
using CapCmbs = Field<57, 57>;    // 1 with a controller memory buffer
// CC
using CcEn =
    Field<0, 0>;  // 1 -> 0 is a controller reset: every queue is gone when the write has been applied
using CcCss = Field<6, 4>;
using CcMps = Field<10, 7>;
using CcAms = Field<13, 11>;
using CcShn = Field<15, 14>;     // 1 normal, 2 abrupt shutdown
using CcIosqes = Field<19, 16>;  // log2 of the size of a Command: 6
using CcIocqes = Field<23, 20>;  // log2 of the size of a Completion: 4
// CSTS
using CstsRdy = Field<0, 0>;
using CstsCfs = Field<1, 1>;   // fatal: a ring was refused, or CC.EN was set with settings that make no sense
using CstsShst = Field<3, 2>;  // 2: shutdown complete
// AQA: entries minus 1, 1..4095
using AqaAsqs = Field<11, 0>;
using AqaAcqs = Field<27, 16>;
// CMBLOC
using CmblocBir = Field<2, 0>;     // 0: BAR 0
using CmblocOfst = Field<31, 12>;  // in units of CMBSZ.SZU
// CMBSZ
using CmbszSqs = Field<0, 0>;    // submission queues may lie in it
using CmbszCqs = Field<1, 1>;    // completion queues
using CmbszLists = Field<2, 2>;  // PRP lists and SGLs
using CmbszRds = Field<3, 3>;    // data of commands that read from the namespace
using CmbszWds = Field<4, 4>;    // data of commands that write to it
using CmbszSzu = Field<11, 8>;   // 0: 4 KiB
using CmbszSz = Field<31, 12>;   // in units of SZU
// CMBMSC
using CmbmscCre = Field<0, 0>;    // show CMBLOC and CMBSZ
using CmbmscCmse = Field<1, 1>;   // addresses from CBA on are the buffer to this controller, untranslated
using CmbmscCba = Field<63, 12>;  // in pages
// CMBSTS
using CmbstsCbai = Field<0, 0>;  // CBA and the size wrap

// ---- Doorbells (sections 3.1.24, 3.1.25): 32 bit, write-only. Admin queue is queue 0.
inline constexpr uint32_t kDoorbells = 0x1000;
constexpr uint32_t sq_doorbell(unsigned queue) {
  return kDoorbells + 8 * queue;
}
constexpr uint32_t cq_doorbell(unsigned queue) {
  return kDoorbells + 8 * queue + 4;
}

// ---- MSI-X structures (hw/pci.h has their layout); the capability in configuration space says the same.
inline constexpr uint32_t kMsixTable = 0x2000;
inline constexpr uint32_t kMsixPba = 0x2800;

inline constexpr unsigned kMaxIoQueues = 16;
inline constexpr unsigned kMaxQueues = kMaxIoQueues + 1;
inline constexpr unsigned kMaxVectors =
    kMaxQueues;  // MSI-X entries 0..kMaxQueues-1: as many as queues, admin included
inline constexpr uint32_t kMaxEntries = 1024;  // of an I/O queue
inline constexpr uint32_t kMaxAdminEntries = 4096;

// ---- Causeway's own registers. Read-only, free of side effects, valid at any time.
//
// Taking over. A driver that finds CSTS.RDY set and the epoch it was told of reads each queue's block and
// goes on:
//  - its submission tail is kCwSqTail; entries [kCwSqHead, kCwSqTail) are not yet fetched;
//  - its completion head is kCwCqHead. The phase it expects there is the phase of kCwCqTail while head <=
//  tail, else
//    the opposite one: the controller has wrapped and the driver has not;
//  - kCwInFlight commands have been fetched and not completed. Which ones they are, the driver's own table of
//  command
//    identifiers says; their data may be written at any time until they complete;
//  - the interrupt entry is in kCwVector; MSI-X itself says where it goes.
// A completion is in memory before kCwCqTail covers it, and kCwInFlight goes down after that.
inline constexpr uint32_t kCwRegisters = 0x3000;
inline constexpr uint32_t kCwMagic = kCwRegisters + 0x00;
inline constexpr uint32_t kCwMagicValue = 0x564e5743;              // "CWNV"
inline constexpr uint32_t kCwVersion = kCwRegisters + 0x04;        // 1
inline constexpr uint32_t kCwEpoch = kCwRegisters + 0x08;          // controller resets since power-on
inline constexpr uint32_t kCwIoQueues = kCwRegisters + 0x0c;       // I/O queue pairs it has
inline constexpr uint32_t kCwTotalInFlight = kCwRegisters + 0x10;  // sum over the queues
inline constexpr uint32_t kCwFatalReason = kCwRegisters + 0x14;    // FatalReason, while CSTS.CFS
inline constexpr uint32_t kCwFatalQueue = kCwRegisters + 0x18;     // the queue it is about
enum class FatalReason : uint32_t { kNone = 0, kSettings = 1, kSubmissionRing = 2, kCompletionRing = 3 };

// Block of a queue; the offsets below are relative to it. Submission and completion queue of one number share
// it.
constexpr uint32_t cw_queue(unsigned queue) {
  return kCwRegisters + 0x100 + queue * 0x40;
}
inline constexpr uint32_t kCwSqBase = 0x00;     // u64
inline constexpr uint32_t kCwCqBase = 0x08;     // u64
inline constexpr uint32_t kCwSqEntries = 0x10;  // 0: there is no such submission queue
inline constexpr uint32_t kCwCqEntries = 0x14;  // 0: there is no such completion queue
inline constexpr uint32_t kCwSqTail = 0x18;     // doorbell value
inline constexpr uint32_t kCwSqHead = 0x1c;     // next to be fetched
inline constexpr uint32_t kCwCqTail = 0x20;     // CwCqTailIndex, CwCqTailPhase: read together
inline constexpr uint32_t kCwCqHead = 0x24;     // doorbell value
inline constexpr uint32_t kCwVector = 0x28;     // CwVectorEntry, CwVectorEnabled
inline constexpr uint32_t kCwSqCqid = 0x2c;     // where the submission queue's completions go
inline constexpr uint32_t kCwInFlight = 0x30;   // commands of the submission queue
inline constexpr uint32_t kCwCompleted = 0x38;  // u64: commands of the submission queue, since it was created
using CwCqTailIndex = Field<15, 0>;             // slot of the next completion
using CwCqTailPhase = Field<16, 16>;            // phase tag the next completion gets
using CwVectorEntry = Field<15, 0>;
using CwVectorEnabled = Field<16, 16>;
inline constexpr uint32_t kRegistersSize = 0x4000;  // of everything above
inline constexpr uint32_t kBarMinimum = 0x8000;
static_assert(cw_queue(kMaxQueues) <= kRegistersSize);

// ---- Commands (section 4.2).
struct Command {
  uint8_t opcode;
  uint8_t flags;  // CommandFuse, CommandPsdt
  uint16_t cid;   // unique among the commands outstanding in the queue
  uint32_t nsid;
  uint32_t cdw2, cdw3;
  uint64_t mptr;  // no metadata: 0
  uint64_t prp1;  // with an SGL prp1 and prp2 are its first descriptor: set_sgl()
  uint64_t prp2;
  uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(Command) == 64 && offsetof(Command, nsid) == 4 && offsetof(Command, mptr) == 16);
static_assert(offsetof(Command, prp1) == 24 && offsetof(Command, cdw10) == 40);
using CommandFuse = Field<1, 0>;  // of flags: 0, there are no fused operations
using CommandPsdt = Field<7, 6>;  // of flags
enum class Psdt : uint8_t { kPrp = 0, kSgl = 1, kSglMetadataSgl = 2 };

// PRP (section 4.3): a bus address, 4-byte aligned. The first entry may start inside a page, all others are
// page addresses. Data that ends within two pages has its second page in PRP2; longer data has in PRP2 the
// address of a list, 8-byte aligned, possibly inside a page; when entries remain, the last entry of a list's
// page is the address of the next list page.
inline constexpr uint32_t kPrpsPerPage = 512;

// SGL descriptor (section 4.4).
struct SglDescriptor {
  uint64_t address;
  uint32_t length;  // bytes; of a segment a multiple of 16
  uint8_t reserved[3];
  uint8_t identifier;  // SglType, SglSubtype
};
static_assert(sizeof(SglDescriptor) == 16 && offsetof(SglDescriptor, identifier) == 15);
using SglTypeField = Field<7, 4>;
using SglSubtypeField = Field<3, 0>;  // 0: an address; offsets are not supported
enum class SglType : uint8_t { kDataBlock = 0, kBitBucket = 1, kSegment = 2, kLastSegment = 3 };
inline constexpr uint32_t kMaxSglDescriptors = 4096;  // of one command; more: kSglCountInvalid

constexpr SglDescriptor sgl_descriptor(SglType type, uint64_t address, uint32_t length) {
  return {address, length, {}, static_cast<uint8_t>(SglTypeField::make(static_cast<uint8_t>(type)))};
}
constexpr SglDescriptor sgl1(const Command& command) {
  struct Pair {
    uint64_t low, high;
  };
  return std::bit_cast<SglDescriptor>(Pair{command.prp1, command.prp2});
}
constexpr void set_sgl(Command& command, const SglDescriptor& first) {
  struct Pair {
    uint64_t low, high;
  };
  Pair pair = std::bit_cast<Pair>(first);
  command.prp1 = pair.low;
  command.prp2 = pair.high;
  command.flags = static_cast<uint8_t>(CommandPsdt::set(command.flags, static_cast<uint8_t>(Psdt::kSgl)));
}

namespace admin {                           // section 5
inline constexpr uint8_t kDeleteSq = 0x00;  // cdw10: queue
inline constexpr uint8_t kCreateSq =
    0x01;  // prp1 base; cdw10: QueueId, QueueSize; cdw11: SqContiguous.. SqCqid
inline constexpr uint8_t kGetLogPage = 0x02;
inline constexpr uint8_t kDeleteCq = 0x04;  // cdw10: queue; its submission queues must be gone
inline constexpr uint8_t kCreateCq =
    0x05;  // prp1 base; cdw10: QueueId, QueueSize; cdw11: CqContiguous.. CqVector
inline constexpr uint8_t kIdentify = 0x06;  // cdw10: Cns
inline constexpr uint8_t kAbort = 0x08;  // cdw10: AbortSqid, AbortCid; result bit 0: 1 = it was not aborted
inline constexpr uint8_t kSetFeatures = 0x09;        // cdw10: feature; cdw11: value
inline constexpr uint8_t kGetFeatures = 0x0a;        // cdw10: feature; the value is the result
inline constexpr uint8_t kAsyncEventRequest = 0x0c;  // stays outstanding: there are no events
}  // namespace admin
using QueueId = Field<15, 0>;         // of cdw10 of the four queue commands
using QueueSize = Field<31, 16>;      // entries minus 1
using QueueContiguous = Field<0, 0>;  // of cdw11: 1
using CqInterruptEnable = Field<1, 1>;
using CqVector = Field<31, 16>;  // MSI-X entry
using SqPriority = Field<2, 1>;
using SqCqid = Field<31, 16>;
using AbortSqid = Field<15, 0>;
using AbortCid = Field<31, 16>;
enum class Cns : uint8_t { kNamespace = 0, kController = 1, kActiveNamespaces = 2, kDescriptors = 3 };

namespace feature {  // section 5.21.1
inline constexpr uint8_t kArbitration = 0x01;
inline constexpr uint8_t kPowerManagement = 0x02;
inline constexpr uint8_t kTemperatureThreshold = 0x04;
inline constexpr uint8_t kErrorRecovery = 0x05;
inline constexpr uint8_t kVolatileWriteCache = 0x06;
inline constexpr uint8_t kNumberOfQueues = 0x07;  // NumberOfSqs, NumberOfCqs; before any I/O queue exists
inline constexpr uint8_t kInterruptCoalescing = 0x08;  // kept, and not followed: every completion interrupts
inline constexpr uint8_t kInterruptVector = 0x09;
inline constexpr uint8_t kWriteAtomicity = 0x0a;
inline constexpr uint8_t kAsyncEvents = 0x0b;
}  // namespace feature
using NumberOfSqs = Field<15, 0>;   // minus 1: asked for, and in the result what there is
using NumberOfCqs = Field<31, 16>;  // the same

namespace opcode {  // NVM command set, section 6
inline constexpr uint8_t kFlush = 0x00;
inline constexpr uint8_t kWrite = 0x01;
inline constexpr uint8_t kRead = 0x02;
inline constexpr uint8_t kWriteZeroes = 0x08;
}  // namespace opcode
// Of read, write and write zeroes: cdw10 and cdw11 are the first block, the low 16 bits of cdw12 the blocks
// minus 1.
using BlockCount = Field<15, 0>;
using ForceUnitAccess = Field<30, 30>;  // of cdw12
constexpr void set_lba(Command& command, uint64_t lba, uint32_t blocks) {
  command.cdw10 = static_cast<uint32_t>(lba);
  command.cdw11 = static_cast<uint32_t>(lba >> 32);
  command.cdw12 = static_cast<uint32_t>(BlockCount::set(command.cdw12, blocks - 1));
}
constexpr uint64_t lba_of(const Command& command) {
  return uint64_t{command.cdw11} << 32 | command.cdw10;
}
constexpr uint32_t blocks_of(const Command& command) {
  return static_cast<uint32_t>(BlockCount::get(command.cdw12)) + 1;
}

// ---- Completions (section 4.6). The last eight bytes are stored at once, after everything else.
struct Completion {
  uint32_t result;  // dword 0, command specific
  uint32_t reserved;
  uint16_t sq_head;  // up to there submission entries may be used again
  uint16_t sq_id;
  uint16_t cid;
  uint16_t status;  // StatusPhase.. StatusDnr
};
static_assert(sizeof(Completion) == 16 && offsetof(Completion, sq_head) == 8);
using StatusPhase = Field<0, 0>;  // 1 in the first pass over the ring, then alternating
using StatusCode = Field<8, 1>;
using StatusType = Field<11, 9>;  // 0 generic, 1 command specific, 2 media
using StatusMore = Field<14, 14>;
using StatusDnr = Field<15, 15>;  // do not retry

// Type << 8 | code, as in section 4.6.1.
enum class Status : uint16_t {
  kSuccess = 0x000,
  kInvalidOpcode = 0x001,
  kInvalidField = 0x002,
  kDataTransferError = 0x004,  // a refused DMA, of data or of a list
  kInternalError = 0x006,
  kAbortRequested = 0x007,
  kAbortedBySqDeletion = 0x008,
  kInvalidNamespace = 0x00b,
  kCommandSequenceError = 0x00c,
  kSglSegmentInvalid = 0x00d,
  kSglCountInvalid = 0x00e,
  kSglLengthInvalid = 0x00f,
  kSglTypeInvalid = 0x011,
  kPrpOffsetInvalid = 0x013,
  kLbaOutOfRange = 0x080,
  kCompletionQueueInvalid = 0x100,
  kInvalidQueueId = 0x101,
  kInvalidQueueSize = 0x102,
  kAsyncEventLimit = 0x105,
  kInvalidVector = 0x108,
  kInvalidLogPage = 0x109,
  kInvalidQueueDeletion = 0x10c,
  kFeatureNotSaveable = 0x10d,
  kFeatureNotChangeable = 0x10e,
  kWriteFault = 0x280,
  kUnrecoveredRead = 0x281,
};
constexpr Status status_of(uint16_t word) {
  return static_cast<Status>(StatusType::get(word) << 8 | StatusCode::get(word));
}
constexpr bool status_phase(uint16_t word) {
  return StatusPhase::get(word) != 0;
}

// ---- Identify (section 5.15), 4096 bytes each. What the model leaves zero is not named.
inline constexpr uint32_t kIdentifySize = 4096;
inline constexpr uint32_t kNamespaceId = 1;  // the only one

struct PowerState {
  uint16_t maximum_power;  // in 10 mW
  uint8_t rest[30];
};
struct IdentifyController {  // figure 247
  uint16_t vid, ssvid;
  char sn[20];  // ASCII, padded with spaces, as are mn and fr
  char mn[40];
  char fr[8];
  uint8_t rab;
  uint8_t ieee[3];
  uint8_t cmic;
  uint8_t mdts;  // log2 of the longest transfer in pages of 4 KiB
  uint16_t cntlid;
  uint32_t ver;
  uint32_t rtd3r, rtd3e, oaes, ctratt;
  uint8_t rest1[11];
  uint8_t cntrltype;  // 1: I/O controller
  uint8_t rest2[144];
  uint16_t oacs;
  uint8_t acl;   // aborts outstanding, minus 1
  uint8_t aerl;  // asynchronous event requests outstanding, minus 1
  uint8_t frmw, lpa, elpe, npss;
  uint8_t rest3[248];
  uint8_t sqes;  // log2 of entry sizes: largest << 4 | required
  uint8_t cqes;
  uint16_t maxcmd;
  uint32_t nn;
  uint16_t oncs;  // OncsWriteZeroes
  uint16_t fuses;
  uint8_t fna;
  uint8_t vwc;  // bit 0: there is a volatile write cache, so flush means something
  uint16_t awun, awupf;
  uint8_t nvscc, nwpc;
  uint16_t acwu, reserved534;
  uint32_t sgls;  // SglsSupported
  uint32_t mnan;
  uint8_t rest4[224];
  char subnqn[256];
  uint8_t rest5[1024];
  PowerState psd[32];
  uint8_t vendor[1024];
};
static_assert(sizeof(PowerState) == 32 && sizeof(IdentifyController) == kIdentifySize);
static_assert(offsetof(IdentifyController, mdts) == 77 && offsetof(IdentifyController, ver) == 80);
static_assert(offsetof(IdentifyController, cntrltype) == 111 && offsetof(IdentifyController, oacs) == 256);
static_assert(offsetof(IdentifyController, sqes) == 512 && offsetof(IdentifyController, nn) == 516);
static_assert(offsetof(IdentifyController, vwc) == 525 && offsetof(IdentifyController, sgls) == 536);
static_assert(offsetof(IdentifyController, subnqn) == 768 && offsetof(IdentifyController, psd) == 2048);
using OncsWriteZeroes = Field<3, 3>;
using SglsSupported = Field<1, 0>;  // 1: without alignment requirements

struct LbaFormat {
  uint16_t ms;    // metadata bytes: 0
  uint8_t lbads;  // log2 of a block
  uint8_t rp;
};
struct IdentifyNamespace {    // figure 245
  uint64_t nsze, ncap, nuse;  // blocks
  uint8_t nsfeat;
  uint8_t nlbaf;  // formats, minus 1
  uint8_t flbas;  // the format in use: low four bits
  uint8_t rest1[101];
  LbaFormat lbaf[16];
  uint8_t rest2[3904];
};
static_assert(sizeof(LbaFormat) == 4 && sizeof(IdentifyNamespace) == kIdentifySize);
static_assert(offsetof(IdentifyNamespace, flbas) == 26 && offsetof(IdentifyNamespace, lbaf) == 128);

}  // namespace causeway::hw::nvme
