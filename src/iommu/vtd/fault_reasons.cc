#include "iommu/vtd/fault_log.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

const char* describe_fault_reason(uint8_t reason) {
  switch (reason) {
    case kRootNotPresent: return "the root entry is not present";
    case kContextNotPresent: return "the context entry is not present";
    case kContextInvalid: return "the context entry is not valid";
    case kBeyondWidth: return "the address is beyond what the unit translates";
    case kNoWrite: return "the page may not be written";
    case kNoRead: return "the page may not be read";
    case kNextTableInvalid: return "a page table cannot be read";
    case kRootAddressInvalid: return "the root table cannot be read";
    case kContextAddressInvalid: return "the context table cannot be read";
    case kRootReservedBits: return "the root entry has reserved bits";
    case kContextReservedBits: return "the context entry has reserved bits";
    case kEntryReservedBits: return "a page table entry has reserved bits";
    case kBadRootMode: return "the root table's mode is reserved";
    case kPasidInLegacyMode: return "a request with a pasid in legacy mode";
    case kScalableRootAccess: return "the scalable root table cannot be read";
    case kScalableRootNotPresent: return "the scalable root entry is not present";
    case kScalableRootReserved: return "the scalable root entry has reserved bits";
    case kScalableContextAccess: return "the scalable context table cannot be read";
    case kScalableContextNotPresent: return "the scalable context entry is not present";
    case kScalableContextReserved: return "the scalable context entry has reserved bits";
    case kScalableContextInvalid: return "the scalable context entry is not valid";
    case kDeviceTlbDisabled: return "the device may not use a TLB of its own";
    case kPasidDisabled: return "the device may not use pasids";
    case kPasidTooLarge: return "the pasid is beyond the directory";
    case kPageRequestDisabled: return "the device may not request pages";
    case kBadRidPasid: return "the pasid for requests without one cannot be used";
    case kPasidDirectoryAccess: return "the pasid directory cannot be read";
    case kPasidDirectoryNotPresent: return "the pasid directory entry is not present";
    case kPasidDirectoryReservedBits: return "the pasid directory entry has reserved bits";
    case kPasidEntryAccess: return "the pasid table cannot be read";
    case kPasidEntryNotPresent: return "the pasid entry is not present";
    case kPasidEntryReserved: return "the pasid entry has reserved bits";
    case kPasidEntryInvalid: return "the pasid entry is not valid";
    case kFirstStageAccess: return "a first-stage table cannot be read";
    case kFirstStageNotPresent: return "the first-stage entry is not present";
    case kFirstStageReserved: return "a first-stage entry has reserved bits";
    case kSecondStageAccess: return "a second-stage table cannot be read";
    case kSecondStagePermission: return "the second stage does not allow it";
    case kSecondStageReserved: return "a second-stage entry has reserved bits";
    case kSecondStagePointer: return "the second-stage top cannot be read";
    case kNonCanonical: return "the address is not canonical";
    case kSupervisorPage: return "the page is the supervisor's";
    case kNotExecutable: return "the page may not be executed";
    case kFirstStageWidth: return "the address is beyond the first stage";
    case kSecondStageWidth: return "the address is beyond the second stage";
    case kStageNoWrite: return "the page may not be written";
    case kStageNoRead: return "the page may not be read";
    case kInterruptAddress: return "the address is an interrupt's";
    default: return "unknown";
  }
}

}  // namespace causeway::iommu::vtd
