#include "machine/vtd/context_walk.h"

#include "hw/vtd.h"

namespace causeway::machine::vtd {
namespace {

using namespace hw::vtd;

// The words of an entry as they were at one time: software that takes an entry away clears the first word first.
template <size_t Words>
bool load_entry(const TableMemory& memory, PhysAddr at, uint64_t (&words)[Words]) {
  for (int attempt = 0; attempt < 16; ++attempt) {
    for (size_t i = 0; i < Words; ++i) {
      if (!memory.load(at + 8 * i, &words[i])) return false;
    }
    uint64_t again;
    if (!memory.load(at, &again)) return false;
    if (again == words[0]) return true;
  }
  return true;
}

bool is_table(uint64_t entry) {
  return (entry & kAddressMask & ~kEntryAddress) == 0;
}

// SAGAW: a unit of 48 bits walks 3 or 4 levels.
std::optional<unsigned> levels_of(const Traits& traits, uint64_t width) {
  if (width < 1 || width > 3) return std::nullopt;
  auto levels = static_cast<unsigned>(width) + 2;
  if (12 + 9 * levels > traits.width) return std::nullopt;
  return levels;
}

Binding refused(uint8_t reason, bool no_record = false) {
  Binding binding;
  binding.reason = reason;
  binding.no_record = no_record;
  return binding;
}

}  // namespace

Binding read_legacy(const TableMemory& memory, const Traits& traits, uint64_t root, Bdf requester) {
  if (RootMode::get(root) != 0) return refused(kBadRootMode);
  uint64_t root_entry[2];
  if (!load_entry(memory, PhysAddr((root & kAddressMask) + 16 * requester.bus()), root_entry))
    return refused(kRootAddressInvalid);
  if (RootPresent::get(root_entry[0]) == 0) return refused(kRootNotPresent);
  if ((root_entry[0] & kRootReserved) != 0 || root_entry[1] != 0 || !is_table(root_entry[0]))
    return refused(kRootReservedBits);
  uint64_t entry[2];
  if (!load_entry(memory, PhysAddr((root_entry[0] & kAddressMask) + 16 * (requester.value() & 0xff)), entry))
    return refused(kContextAddressInvalid);
  const bool no_record = ContextFaultDisable::get(entry[0]) != 0;
  if (ContextPresent::get(entry[0]) == 0) return refused(kContextNotPresent, no_record);
  if ((entry[0] & kContextReserved0) != 0 || (entry[1] & kContextReserved1) != 0 || !is_table(entry[0]))
    return refused(kContextReservedBits, no_record);

  Binding binding;
  binding.no_record = no_record;
  const uint64_t type = ContextTranslation::get(entry[0]);
  const auto levels = levels_of(traits, ContextWidth::get(entry[1]));
  binding.domain = static_cast<uint16_t>(ContextDomain::get(entry[1]));
  if (type > kPassThrough || !levels || binding.domain >= traits.domains ||
      (type == kTranslateDeviceTlb && !traits.device_tlb))
    return refused(kContextInvalid, no_record);
  binding.pass_through = type == kPassThrough;
  binding.device_tlb = type == kTranslateDeviceTlb;
  binding.stage.levels = *levels;
  binding.stage.width = traits.width;
  binding.stage.top = PhysAddr(entry[0] & kAddressMask);
  return binding;
}

ScalableContext read_context(const TableMemory& memory, const Traits& traits, uint64_t root, Bdf requester) {
  ScalableContext context;
  auto refuse = [&](uint8_t reason) {
    context.reason = reason;
    return context;
  };
  if (RootMode::get(root) != 1 || !traits.scalable) return refuse(kBadRootMode);
  const unsigned devfn = requester.value() & 0xff;
  uint64_t root_entry;
  if (!memory.load(PhysAddr((root & kAddressMask) + 16 * requester.bus() + (devfn >= 0x80 ? 8 : 0)), &root_entry))
    return refuse(kScalableRootAccess);
  if (RootPresent::get(root_entry) == 0) return refuse(kScalableRootNotPresent);
  if ((root_entry & kRootReserved) != 0 || !is_table(root_entry)) return refuse(kScalableRootReserved);
  uint64_t entry[4];
  if (!load_entry(memory, PhysAddr((root_entry & kAddressMask) + 32 * (devfn & 0x7f)), entry))
    return refuse(kScalableContextAccess);
  context.no_record = ContextFaultDisable::get(entry[0]) != 0;
  if (ContextPresent::get(entry[0]) == 0) return refuse(kScalableContextNotPresent);
  if ((entry[0] & kScalableReserved0) != 0 || !is_table(entry[0]) || (entry[1] & ~ScalableRidPasid::kMask) != 0 ||
      entry[2] != 0 || entry[3] != 0)
    return refuse(kScalableContextReserved);
  context.device_tlb = ScalableDeviceTlb::get(entry[0]) != 0;
  context.pasid = ScalablePasid::get(entry[0]) != 0;
  context.page_requests = ScalablePageRequest::get(entry[0]) != 0;
  context.pasids = (1u << (ScalableDirectorySize::get(entry[0]) + 7)) * kPasidTableEntries;
  context.rid_pasid = static_cast<uint32_t>(ScalableRidPasid::get(entry[1]));
  context.directory = PhysAddr(entry[0] & kAddressMask);
  return context;
}

Binding read_pasid(const TableMemory& memory, const Traits& traits, const ScalableContext& context,
                   std::optional<uint32_t> pasid) {
  bool no_record = context.no_record;
  if (context.reason != 0) return refused(context.reason, no_record);
  if (pasid && !context.pasid) return refused(kPasidDisabled, no_record);
  const uint32_t number = pasid.value_or(context.rid_pasid);
  if (number >= context.pasids) return refused(pasid ? kPasidTooLarge : kBadRidPasid, no_record);
  uint64_t directory;
  if (!memory.load(context.directory + 8 * (number / kPasidTableEntries), &directory))
    return refused(kPasidDirectoryAccess, no_record);
  no_record = no_record || PasidFaultDisable::get(directory) != 0;
  if (PasidPresent::get(directory) == 0) return refused(kPasidDirectoryNotPresent, no_record);
  if ((directory & kPasidDirectoryReserved) != 0 || !is_table(directory))
    return refused(kPasidDirectoryReservedBits, no_record);
  uint64_t entry[3];  // the others say nothing
  if (!load_entry(memory, PhysAddr((directory & kAddressMask) + 64 * (number % kPasidTableEntries)), entry))
    return refused(kPasidEntryAccess, no_record);
  no_record = no_record || PasidFaultDisable::get(entry[0]) != 0;
  if (PasidPresent::get(entry[0]) == 0) return refused(kPasidEntryNotPresent, no_record);
  if ((entry[0] & kPasidReserved0) != 0 || !is_table(entry[0]) || !is_table(entry[2]))
    return refused(kPasidEntryReserved, no_record);

  Binding binding;
  binding.no_record = no_record;
  binding.device_tlb = context.device_tlb;
  binding.domain = static_cast<uint16_t>(PasidDomain::get(entry[1]));
  binding.stage.scalable = true;
  if (binding.domain >= traits.domains) return refused(kPasidEntryInvalid, no_record);
  switch (PasidType::get(entry[0])) {
    case kPasidPassThrough:
      binding.pass_through = true;
      return binding;
    case kSecondStage: {
      const auto levels = levels_of(traits, PasidWidth::get(entry[0]));
      if (!levels) return refused(kPasidEntryInvalid, no_record);
      binding.stage.levels = *levels;
      binding.stage.width = traits.width;
      binding.stage.dirty = PasidSecondStageDirty::get(entry[0]) != 0;
      binding.stage.top = PhysAddr(entry[0] & kAddressMask);
      return binding;
    }
    case kFirstStage: {
      const uint64_t mode = PasidFirstStageMode::get(entry[2]);
      if (!traits.first_stage || mode > 1 || (mode == 1 && traits.width < 57))
        return refused(kPasidEntryInvalid, no_record);
      binding.pasid = number;
      binding.stage.first = true;
      binding.stage.levels = static_cast<unsigned>(mode) + 4;
      binding.stage.top = PhysAddr(entry[2] & kAddressMask);
      return binding;
    }
    default:  // nested stages are not in the capabilities
      return refused(kPasidEntryInvalid, no_record);
  }
}

}  // namespace causeway::machine::vtd
