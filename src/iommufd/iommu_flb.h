// The FLB `iommu-liveupdate`: the session carrier of IOMMU state (iommu/liveupdate/live_update.h) lives from the first file of a
// linked handler that is preserved to the last one that is given up, and comes back with the first that asks.
//
//   IommuFlb flb(live_update);
//   CW_TRY(orchestrator.register_flb(iommufd_handler, flb));
//   ...
//   auto state = orchestrator.get_incoming(flb);       // the next kernel, before it probes a device
//
// Its data is the address of the IommuFlbSer. What is damaged is refused once and for all, with LiveUpdate::damage() as the
// reason; whoever boots decides what to do without it, and must not turn translation off.
#pragma once

#include "iommu/liveupdate/live_update.h"
#include "luo/flb.h"

namespace causeway::iommufd {

class IommuFlb final : public luo::Flb {
 public:
  explicit IommuFlb(iommu::LiveUpdate& live_update) : live_update_(live_update) {}

  const char* compatible() const override { return iommu::abi::kCompatible; }
  // Errors of LiveUpdate::create().
  Status preserve(luo::FlbArgs& args) override;
  void unpreserve(luo::FlbArgs& args) override;
  // Errors of LiveUpdate::retrieve().
  Status retrieve(luo::FlbArgs& args) override;
  void finish(luo::FlbArgs& args) override;

 private:
  iommu::LiveUpdate& live_update_;
};

}  // namespace causeway::iommufd
