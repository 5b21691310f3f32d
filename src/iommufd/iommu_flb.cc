#include "iommufd/iommu_flb.h"

namespace causeway::iommufd {

namespace {

// Not owned: the carrier is part of LiveUpdate.
std::shared_ptr<void> object_for(iommu::LiveUpdate& live_update) {
  return {&live_update, [](void*) {}};
}

}  // namespace

Status IommuFlb::preserve(luo::FlbArgs& args) {
  args.data = CW_TRY(live_update_.create(iommu::Carrier::kSession)).value();
  args.object = object_for(live_update_);
  return {};
}

void IommuFlb::unpreserve(luo::FlbArgs&) {
  live_update_.destroy(iommu::Carrier::kSession);
}

Status IommuFlb::retrieve(luo::FlbArgs& args) {
  CW_TRY(live_update_.retrieve(iommu::Carrier::kSession, PhysAddr(args.data)));
  args.object = object_for(live_update_);
  return {};
}

void IommuFlb::finish(luo::FlbArgs&) {
  live_update_.release(iommu::Carrier::kSession);
}

}  // namespace causeway::iommufd
