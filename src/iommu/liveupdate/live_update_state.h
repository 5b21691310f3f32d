// What a LiveUpdate consists of. Private to liveupdate/: outgoing.cc is the old kernel's side, incoming.cc the new one's.
#pragma once

#include "iommu/liveupdate/live_update.h"

namespace causeway::iommu {

struct LiveUpdate::State {
  struct PreservedDomain {
    Carrier carrier;
    abi::DomainSer* ser;
  };
  struct PreservedDevice {
    Carrier carrier;
    abi::DeviceSer* ser;
    Unit* unit;
  };
  // The driver's record, and its copies in the carriers: one may go while the other stays.
  struct PreservedUnit {
    abi::IommuHwSer driver{};
    std::array<abi::IommuHwSer*, kCarriers> copies{};
    std::array<unsigned, kCarriers> devices{};
  };
  struct RestoredDomain {
    Carrier carrier;
    Result<Domain*> outcome;  // for everybody who asks
    std::unique_ptr<Domain> domain;
  };

  std::array<std::unique_ptr<PreservedState>, kCarriers> outgoing;
  std::map<const Domain*, PreservedDomain> domains;
  std::map<const Device*, PreservedDevice> devices;
  std::map<const Unit*, PreservedUnit> units;

  std::array<std::shared_ptr<PreservedState>, kCarriers> incoming;
  std::map<const abi::DomainSer*, RestoredDomain> restored;
  std::vector<std::unique_ptr<Domain>> kept;  // restored from records that were released
  std::vector<std::string> damage;

  PreservedState* outgoing_of(Carrier carrier) { return outgoing[static_cast<size_t>(carrier)].get(); }
};

}  // namespace causeway::iommu
