// Intel VT-d: the registers of a remapping unit, the tables it walks and the commands of its invalidation queue. The
// VT-d driver and the model of the unit share this header and nothing else.
//
// Source: Intel Virtualization Technology for Directed I/O, Architecture Specification, revision 4.1: section 9
// (translation structures), 6.5 (invalidation queue), 7.3 (fault reasons), 11.4 (registers).
//
//   uint64_t cap = regs.read64(kCap);
//   if (CapCachingMode::get(cap)) ...
//   entry[0] = ContextPresent::make(1) | ContextTranslation::make(kTranslateUntranslated) | top.value();
//
// Registers are 64 bit unless marked. All are free of side effects on read. What is named `...Address` below holds bits
// 63:12 of a physical address, in place: kAddressMask.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"
#include "base/types.h"

namespace causeway::hw::vtd {

inline constexpr uint64_t kAddressMask = ~uint64_t{0xfff};
inline constexpr uint64_t kRegisterBytes = 0x1000;  // of one unit

// -- Registers (11.4).
inline constexpr uint32_t kVersion = 0x00;  // u32: major 7:4, minor 3:0
inline constexpr uint32_t kCap = 0x08;
inline constexpr uint32_t kEcap = 0x10;
inline constexpr uint32_t kGlobalCommand = 0x18;  // u32, write: the whole state at once
inline constexpr uint32_t kGlobalStatus = 0x1c;   // u32
inline constexpr uint32_t kRootTable = 0x20;      // latched by GlobalSetRoot
inline constexpr uint32_t kContextCommand = 0x28;
inline constexpr uint32_t kFaultStatus = 0x34;         // u32
inline constexpr uint32_t kFaultEventControl = 0x38;   // u32
inline constexpr uint32_t kFaultEventData = 0x3c;      // u32
inline constexpr uint32_t kFaultEventAddress = 0x40;   // u32
inline constexpr uint32_t kFaultEventUpper = 0x44;     // u32
inline constexpr uint32_t kProtectedEnable = 0x64;     // u32: EPM 31, PRS 0
inline constexpr uint32_t kProtectedLowBase = 0x68;    // u32
inline constexpr uint32_t kProtectedLowLimit = 0x6c;   // u32
inline constexpr uint32_t kProtectedHighBase = 0x70;
inline constexpr uint32_t kProtectedHighLimit = 0x78;
inline constexpr uint32_t kQueueHead = 0x80;
inline constexpr uint32_t kQueueTail = 0x88;
inline constexpr uint32_t kQueueAddress = 0x90;
inline constexpr uint32_t kCompletionStatus = 0x9c;    // u32: bit 0 IWC
inline constexpr uint32_t kQueueError = 0xb0;
inline constexpr uint32_t kInterruptTable = 0xb8;      // no interrupt remapping here
inline constexpr uint32_t kPageRequestHead = 0xc0;
inline constexpr uint32_t kPageRequestTail = 0xc8;
inline constexpr uint32_t kPageRequestAddress = 0xd0;
inline constexpr uint32_t kPageRequestStatus = 0xdc;       // u32
inline constexpr uint32_t kPageRequestControl = 0xe0;      // u32, as the four of the fault event
inline constexpr uint32_t kPageRequestData = 0xe4;         // u32
inline constexpr uint32_t kPageRequestEventAddress = 0xe8; // u32
inline constexpr uint32_t kPageRequestUpper = 0xec;        // u32
// Where EcapIotlbOffset and CapFaultOffset of this model point: IVA at +0, IOTLB at +8; 16-byte fault records.
inline constexpr uint32_t kIotlbOffset = 0x500;
inline constexpr uint32_t kFaultRecordOffset = 0x600;
inline constexpr uint32_t kFaultRecordBytes = 16;

// kCap
using CapDomains = Field<2, 0>;  // 2^(4 + 2 * value) domain ids
using CapWriteBufferFlush = Field<4, 4>;
using CapProtectedLow = Field<5, 5>;
using CapProtectedHigh = Field<6, 6>;
using CapCachingMode = Field<7, 7>;
using CapAgaw = Field<12, 8>;  // bit 1: 3 levels, 39 bits; bit 2: 4, 48; bit 3: 5, 57
using CapMgaw = Field<21, 16>;  // address bits, minus 1
using CapZeroLengthRead = Field<22, 22>;
using CapFaultOffset = Field<33, 24>;  // in units of 16 bytes
using CapLargePages = Field<37, 34>;   // bit 0: 2 MiB, bit 1: 1 GiB; of the second stage
using CapPageSelective = Field<39, 39>;
using CapFaultRecords = Field<47, 40>;  // minus 1
using CapMaxAddressMask = Field<53, 48>;
using CapDrainWrites = Field<54, 54>;
using CapDrainReads = Field<55, 55>;
using CapFirstStage1G = Field<56, 56>;
using CapPostedInterrupts = Field<59, 59>;
using CapFirstStage5Level = Field<60, 60>;
using CapEnhancedSetInterruptTable = Field<62, 62>;
using CapEnhancedSetRoot = Field<63, 63>;  // SRTP invalidates by itself
// kEcap
using EcapCoherent = Field<0, 0>;  // walks of root, context and PASID structures, and in legacy mode of page tables
using EcapQueuedInvalidation = Field<1, 1>;
using EcapDeviceTlb = Field<2, 2>;
using EcapInterruptRemapping = Field<3, 3>;
using EcapPassThrough = Field<6, 6>;
using EcapSnoopControl = Field<7, 7>;
using EcapIotlbOffset = Field<17, 8>;  // in units of 16 bytes
using EcapMaxHandleMask = Field<23, 20>;
using EcapNested = Field<26, 26>;
using EcapPageRequest = Field<29, 29>;
using EcapSupervisor = Field<31, 31>;
using EcapNoWriteFlag = Field<33, 33>;
using EcapExtendedAccessed = Field<34, 34>;
using EcapPasidBits = Field<39, 35>;  // minus 1
using EcapPasid = Field<40, 40>;
using EcapDeviceTlbThrottle = Field<41, 41>;
using EcapPageDrain = Field<42, 42>;
using EcapScalableMode = Field<43, 43>;
using EcapSecondStageDirty = Field<45, 45>;
using EcapSecondStage = Field<46, 46>;  // in scalable mode
using EcapFirstStage = Field<47, 47>;
using EcapPageWalkCoherent = Field<48, 48>;  // scalable mode
using EcapRidPasid = Field<49, 49>;

// kGlobalCommand and kGlobalStatus have the same bits. Sticky ones are written with every command.
using GlobalTranslation = Field<31, 31>;       // TE, sticky
using GlobalSetRoot = Field<30, 30>;           // SRTP, one-shot
using GlobalWriteBufferFlush = Field<27, 27>;  // WBF, one-shot; reads 0 when done
using GlobalQueue = Field<26, 26>;             // QIE, sticky
using GlobalInterruptRemapping = Field<25, 25>;
// kRootTable: kAddressMask, and:
using RootScalable = Field<10, 10>;  // TTM: scalable mode
using RootMode = Field<11, 10>;      // 0 legacy, 1 scalable; 2, 3 reserved

// Granularities, the same in registers and descriptors.
enum Granularity : uint8_t { kGlobal = 1, kDomain = 2, kDevice = 3, kPage = 3 };

// kContextCommand
using ContextCommandStart = Field<63, 63>;  // write 1; reads 0 when done
using ContextCommandGranularity = Field<62, 61>;
using ContextCommandMask = Field<33, 32>;
using ContextCommandSource = Field<31, 16>;
using ContextCommandDomain = Field<15, 0>;
// The IOTLB register (kIotlbOffset + 8)
using IotlbStart = Field<63, 63>;
using IotlbGranularity = Field<61, 60>;
using IotlbActual = Field<58, 57>;
using IotlbDrainReads = Field<49, 49>;
using IotlbDrainWrites = Field<48, 48>;
using IotlbDomain = Field<47, 32>;
// IVA (kIotlbOffset) and the second word of IOTLB descriptors: kAddressMask, and:
using IvaHint = Field<6, 6>;  // IH: no table was freed, cached table pointers may stay
using IvaMask = Field<5, 0>;  // AM: 2^AM pages, the address aligned to them

// kFaultStatus; written with ones to clear
using FaultOverflow = Field<0, 0>;
using FaultPending = Field<1, 1>;  // read-only: some record has its F bit set
using FaultQueueError = Field<4, 4>;
using FaultCompletionError = Field<5, 5>;
using FaultTimeoutError = Field<6, 6>;
using FaultPageRequestOverflow = Field<7, 7>;
using FaultRecordIndex = Field<15, 8>;  // of the oldest record that is pending
// kFaultEventControl and the like
using EventMask = Field<31, 31>;  // 1 at reset
using EventPending = Field<30, 30>;
// kQueueError
using QueueErrorReason = Field<3, 0>;
using QueueErrorTimeoutSource = Field<47, 32>;
enum QueueErrorCode : uint8_t { kQueueErrorNone = 0, kQueueErrorType = 3, kQueueErrorReserved = 4, kQueueErrorField = 5 };
// kPageRequestStatus
using PageRequestPending = Field<0, 0>;
using PageRequestOverflow = Field<1, 1>;

// A fault record: kAddressMask of the page in the first word; in the second:
using RecordSource = Field<15, 0>;
using RecordPasidPresent = Field<31, 31>;
using RecordReason = Field<39, 32>;
using RecordPasid = Field<59, 40>;
using RecordRead = Field<62, 62>;  // the access was a read
using RecordFault = Field<63, 63>;  // F: valid; written with 1 to clear

// -- Tables (9). Every structure is an array of 64-bit words.
struct Words2 { uint64_t w[2]; };
struct Words4 { uint64_t w[4]; };
struct Words8 { uint64_t w[8]; };

// Root entry, by bus. Legacy: the first word. Scalable: first word for devfn 0x00..0x7f, second for 0x80..0xff.
using RootEntry = Words2;
using RootPresent = Field<0, 0>;
inline constexpr uint64_t kRootReserved = 0xffe;

// Legacy context entry, by devfn.
using ContextEntry = Words2;
using ContextPresent = Field<0, 0>;
using ContextFaultDisable = Field<1, 1>;
using ContextTranslation = Field<3, 2>;
enum ContextType : uint8_t { kTranslateUntranslated = 0, kTranslateDeviceTlb = 1, kPassThrough = 2 };
inline constexpr uint64_t kContextReserved0 = 0xff0;
using ContextWidth = Field<2, 0>;    // second word: 1, 2, 3 for 3, 4, 5 levels
using ContextDomain = Field<23, 8>;  // second word
inline constexpr uint64_t kContextReserved1 = ~uint64_t{0xffffff} | 0x80;  // bits 6:3 are available to software

// Scalable context entry, by devfn & 0x7f. First word: ContextPresent, ContextFaultDisable, kAddressMask of the PASID
// directory, and:
using ScalableContextEntry = Words4;
using ScalableDeviceTlb = Field<2, 2>;
using ScalablePasid = Field<3, 3>;
using ScalablePageRequest = Field<4, 4>;
using ScalableDirectorySize = Field<11, 9>;  // 2^(value + 7) entries
inline constexpr uint64_t kScalableReserved0 = 0x1e0;
using ScalableRidPasid = Field<19, 0>;  // second word

// PASID directory entry, by PASID >> 6: P, FPD, kAddressMask of a table of 64 entries.
using PasidPresent = Field<0, 0>;
using PasidFaultDisable = Field<1, 1>;
inline constexpr uint64_t kPasidDirectoryReserved = 0xffc;
inline constexpr unsigned kPasidTableEntries = 64;
// PASID entry. First word: P, FPD, kAddressMask of the second-stage top, and:
using PasidEntry = Words8;
using PasidWidth = Field<4, 2>;  // as ContextWidth
using PasidType = Field<8, 6>;
enum PasidTranslation : uint8_t { kFirstStage = 1, kSecondStage = 2, kNestedStages = 3, kPasidPassThrough = 4 };
using PasidSecondStageDirty = Field<9, 9>;  // SSADE
inline constexpr uint64_t kPasidReserved0 = 0xc20;
using PasidDomain = Field<15, 0>;           // second word
using PasidWalkSnoop = Field<23, 23>;       // second word
using PasidPageSnoop = Field<24, 24>;       // second word
using PasidSupervisor = Field<0, 0>;        // third word: SRE
using PasidFirstStageMode = Field<3, 2>;    // third word: 0 = 4 levels, 1 = 5
using PasidWriteProtect = Field<4, 4>;      // third word
using PasidExtendedAccessed = Field<7, 7>;  // third word; and kAddressMask of the first-stage top

// Second-stage entries. Nothing says that one is present but that it is not zero.
using SecondRead = Field<0, 0>;
using SecondWrite = Field<1, 1>;
using SecondLarge = Field<7, 7>;  // a leaf, at level 1 or 2
using SecondAccessed = Field<8, 8>;
using SecondDirty = Field<9, 9>;
using SecondSnoop = Field<11, 11>;
// First-stage entries.
using FirstPresent = Field<0, 0>;
using FirstWrite = Field<1, 1>;
using FirstUser = Field<2, 2>;
using FirstAccessed = Field<5, 5>;
using FirstDirty = Field<6, 6>;
using FirstLarge = Field<7, 7>;
using FirstNoExecute = Field<63, 63>;
inline constexpr uint64_t kEntryAddress = 0x000f'ffff'ffff'f000;  // bits 51:12, of either stage

// -- Invalidation queue (6.5). A descriptor is two words, or, with QueueWide, four with the last two zero.
using QueueSize = Field<2, 0>;  // of kQueueAddress: 2^(value + 8) slots of 16 bytes, half as many wide ones
using QueueWide = Field<11, 11>;
inline constexpr unsigned kSlotShift = 4;  // of kQueueHead and kQueueTail; 5 for wide descriptors
using Descriptor = Words2;
using WideDescriptor = Words4;
using DescriptorType = Field<3, 0>;
enum Type : uint8_t {
  kContextCache = 1,
  kIotlb = 2,
  kDeviceTlb = 3,
  kInterruptCache = 4,
  kWait = 5,
  kPasidIotlb = 6,
  kPasidCache = 7,
  kPasidDeviceTlb = 8,
  kPageGroupResponse = 9,
};
// Of types 1, 2, 6 and 7.
using DescriptorGranularity = Field<5, 4>;
using DescriptorDomain = Field<31, 16>;
// 1
using ContextCacheSource = Field<47, 32>;
using ContextCacheMask = Field<49, 48>;
// 2: second word as IVA
using IotlbDescriptorDrainWrites = Field<6, 6>;
using IotlbDescriptorDrainReads = Field<7, 7>;
// 3: second word kAddressMask and the size bit
using DeviceTlbSource = Field<47, 32>;
using DeviceTlbDepth = Field<20, 16>;
using DeviceTlbSize = Field<0, 0>;  // S: the address's lowest zero bit, from bit 12, says how large
// 5: second word is the address of the status word
using WaitInterrupt = Field<4, 4>;
using WaitStatusWrite = Field<5, 5>;
using WaitFence = Field<6, 6>;
using WaitPageDrain = Field<7, 7>;
using WaitData = Field<63, 32>;
// 6, 7, 8
using DescriptorPasid = Field<51, 32>;
enum PasidGranularity : uint8_t { kPasidAll = 2, kPasidPage = 3 };                             // of 6
enum PasidCacheGranularity : uint8_t { kCacheDomain = 0, kCachePasid = 1, kCacheGlobal = 3 };  // of 7
using PasidDeviceTlbSource = Field<31, 16>;
using PasidDeviceTlbSize = Field<11, 11>;   // second word: S
using PasidDeviceTlbGlobal = Field<0, 0>;   // second word
// 9, page group response: PASID as above, second word: group index 11:3
using ResponsePasidPresent = Field<4, 4>;
using ResponseCode = Field<15, 12>;
using ResponseSource = Field<31, 16>;
using ResponseGroup = Field<11, 3>;
enum Response : uint8_t { kResponseSuccess = 0, kResponseInvalid = 1, kResponseFailure = 15 };

// A page request, in a ring of 2^(PRS + 7) entries.
using PageRequest = Words4;
using PageRequestType = Field<7, 0>;
using RequestPasidPresent = Field<8, 8>;
using RequestSource = Field<31, 16>;
using RequestPasid = Field<51, 32>;
using RequestExecute = Field<52, 52>;
using RequestPrivileged = Field<53, 53>;
using RequestRead = Field<0, 0>;    // second word
using RequestWrite = Field<1, 1>;   // second word
using RequestLast = Field<2, 2>;    // second word
using RequestGroup = Field<11, 3>;  // second word; and kAddressMask

// -- Fault reasons (7.3).
enum FaultReason : uint8_t {
  kRootNotPresent = 0x1,
  kContextNotPresent = 0x2,
  kContextInvalid = 0x3,
  kBeyondWidth = 0x4,
  kNoWrite = 0x5,
  kNoRead = 0x6,
  kNextTableInvalid = 0x7,
  kRootAddressInvalid = 0x8,
  kContextAddressInvalid = 0x9,
  kRootReservedBits = 0xa,
  kContextReservedBits = 0xb,
  kEntryReservedBits = 0xc,
  kBadRootMode = 0x30,
  kPasidInLegacyMode = 0x31,
  kScalableRootAccess = 0x38,
  kScalableRootNotPresent = 0x39,
  kScalableRootReserved = 0x3a,
  kScalableContextAccess = 0x40,
  kScalableContextNotPresent = 0x41,
  kScalableContextReserved = 0x42,
  kScalableContextInvalid = 0x43,
  kDeviceTlbDisabled = 0x44,
  kPasidDisabled = 0x45,
  kPasidTooLarge = 0x46,
  kPageRequestDisabled = 0x47,
  kBadRidPasid = 0x48,
  kPasidDirectoryAccess = 0x50,
  kPasidDirectoryNotPresent = 0x51,
  kPasidDirectoryReservedBits = 0x52,
  kPasidEntryAccess = 0x58,
  kPasidEntryNotPresent = 0x59,
  kPasidEntryReserved = 0x5a,
  kPasidEntryInvalid = 0x5b,
  kFirstStageAccess = 0x70,
  kFirstStageNotPresent = 0x71,
  kFirstStageReserved = 0x72,
  kSecondStageAccess = 0x78,
  kSecondStagePermission = 0x79,
  kSecondStageReserved = 0x7a,
  kSecondStagePointer = 0x7b,
  kNonCanonical = 0x80,
  kSupervisorPage = 0x81,
  kNotExecutable = 0x82,
  kFirstStageWidth = 0x83,
  kSecondStageWidth = 0x84,
  kStageNoWrite = 0x85,
  kStageNoRead = 0x86,
  kInterruptAddress = 0x87,
};

// A write to this range without a PASID is an interrupt and is never translated.
inline constexpr PhysAddr kInterruptStart{0xfee0'0000};
inline constexpr PhysAddr kInterruptEnd{0xfeef'ffff};  // inclusive

// Domain ids: 0 tags what is cached as not present when CapCachingMode; never allocated.
inline constexpr uint16_t kReservedDomainId = 0;

static_assert(sizeof(RootEntry) == 16 && sizeof(ContextEntry) == 16 && sizeof(ScalableContextEntry) == 32);
static_assert(sizeof(PasidEntry) == 64 && kPasidTableEntries * sizeof(PasidEntry) == kPageSize);
static_assert(sizeof(Descriptor) == 16 && sizeof(WideDescriptor) == 32 && sizeof(PageRequest) == 32);

}  // namespace causeway::hw::vtd
