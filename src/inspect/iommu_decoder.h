// The IOMMU records of an image (iommu/abi/iommu_v1.h) and what they lead to. Private to this room.
//
// Carriers are noted while subtrees and FLBs are decoded, and read together at the end: two of them may name one unit.
//
//   context.iommu_carriers.push_back({"KHO subtree", subtree.phys, subtree.size});
//   decode_iommu(context);
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "iommu/abi/iommu_v1.h"
#include "inspect/context.h"
#include "inspect/iommu_report.h"

namespace causeway::inspect {

// Reads every carrier into Report::iommu, checks it, and fills in Report::translation if Options::device is there.
void decode_iommu(Context& context);

// Tables of one unit, whichever carriers name it.
struct UnitTables {
  PhysAddr root;
  bool readable = false;
  std::map<uint16_t, PhysAddr> contexts;  // by bus * 2 + (devfn >> 7)
  // By domain id: the domain's record that has it.
  std::unordered_map<uint64_t, const IommuDomain*> domain_ids;
};

// The records of one carrier. Deleted ones are counted, and remembered only for what refers to them.
class IommuRecords {
 public:
  IommuRecords(Context& context, IommuState& state, uint64_t& budget)
      : context_(context), state_(state), budget_(budget) {}
  // False: nothing of it can be read.
  bool read(uint64_t size);

 private:
  template <typename Object>
  void array(uint64_t first, const char* what, uint64_t& deleted, const std::function<void(const Object&, PhysAddr)>& visit);
  void resolve();

  Context& context_;
  IommuState& state_;
  uint64_t& budget_;
  std::unordered_map<uint64_t, bool> deleted_;
};

// The entries of one device, from the root on, against its record. What there is of the way is in the answer; the domain's
// stage is filled in.
Translation check_device(Context& context, IommuState& state, IommuDevice& device, UnitTables& unit);
// Root and context tables that a unit's record names.
void read_unit(Context& context, IommuUnit& unit, UnitTables& tables);

}  // namespace causeway::inspect
