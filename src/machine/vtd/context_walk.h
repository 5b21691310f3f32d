// From a requester to its address space: root, context and, in scalable mode, PASID structures (VT-d 3.4, 9.1 to 9.6).
//
//   Binding binding = read_legacy(memory, traits, root, sid);
//   ScalableContext context = read_context(memory, traits, root, sid);
//   Binding binding = read_pasid(memory, traits, context, pasid);
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.h"
#include "machine/vtd/page_walk.h"

namespace causeway::machine::vtd {

// What the unit can do, as far as the walk needs to know.
struct Traits {
  bool scalable = false;
  bool first_stage = false;
  unsigned width = 48;
  unsigned domains = 65536;
  bool device_tlb = false;
};

inline constexpr uint32_t kNoPasid = ~uint32_t{0};  // tags what is of a second stage

struct Binding {
  uint8_t reason = 0;         // a fault's
  bool no_record = false;     // FPD: a fault of this requester is not recorded
  bool pass_through = false;  // addresses are physical addresses
  bool device_tlb = false;    // the device may ask for translations
  uint16_t domain = 0;
  uint32_t pasid = kNoPasid;  // of the tag in the IOTLB
  Stage stage;
};

struct ScalableContext {
  uint8_t reason = 0;
  bool no_record = false;
  bool device_tlb = false;
  bool pasid = false;
  bool page_requests = false;
  uint32_t pasids = 0;  // how many the directory covers
  uint32_t rid_pasid = 0;
  PhysAddr directory;
};

// `root`: the latched root-table register.
Binding read_legacy(const TableMemory& memory, const Traits& traits, uint64_t root, Bdf requester);
ScalableContext read_context(const TableMemory& memory, const Traits& traits, uint64_t root, Bdf requester);
// `pasid`: none stands for the requester's own address space.
Binding read_pasid(const TableMemory& memory, const Traits& traits, const ScalableContext& context,
                   std::optional<uint32_t> pasid);

}  // namespace causeway::machine::vtd
