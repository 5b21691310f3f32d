#include "iommu/vtd/register_invalidation.h"

#include "iommu/vtd/invalidation_queue.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

Result<std::unique_ptr<Invalidator>> Invalidator::create(UnitRegisters& regs, IommuPages& pages,
                                                         InvalidatorOptions options) {
  if (!regs.caps().queued_invalidation()) return std::unique_ptr<Invalidator>(new RegisterInvalidation(regs));
  return std::unique_ptr<Invalidator>(CW_TRY(InvalidationQueue::create(regs, pages, std::move(options))));
}

Status RegisterInvalidation::submit(std::span<const QueueDescriptor> descriptors) {
  sync::SpinLockGuard guard(lock_);
  ++stats_.submissions;
  for (const QueueDescriptor& descriptor : descriptors) {
    switch (DescriptorType::get(descriptor.w[0])) {
      case kContextCache:
        CW_TRY(context(descriptor.w[0]));
        break;
      case kIotlb:
        CW_TRY(iotlb(descriptor));
        break;
      case kWait:  // each is done before the next begins
        break;
      default:
        return fail(EOPNOTSUPP, "the remapping unit has no invalidation queue");
    }
    ++stats_.descriptors;
  }
  return {};
}

Status RegisterInvalidation::context(uint64_t descriptor) {
  auto idle = [](uint64_t value) { return ContextCommandStart::get(value) == 0; };
  CW_TRY(regs_.poll64(kContextCommand, idle, "the context command"));
  regs_.write64(kContextCommand, ContextCommandStart::make(1) |
                                     ContextCommandGranularity::make(DescriptorGranularity::get(descriptor)) |
                                     ContextCommandMask::make(ContextCacheMask::get(descriptor)) |
                                     ContextCommandSource::make(ContextCacheSource::get(descriptor)) |
                                     ContextCommandDomain::make(DescriptorDomain::get(descriptor)));
  return regs_.poll64(kContextCommand, idle, "invalidating contexts");
}

Status RegisterInvalidation::iotlb(const QueueDescriptor& descriptor) {
  uint32_t address = regs_.caps().iotlb_offset();
  uint32_t command = address + 8;
  auto idle = [](uint64_t value) { return IotlbStart::get(value) == 0; };
  CW_TRY(regs_.poll64(command, idle, "the IOTLB command"));
  uint64_t granularity = DescriptorGranularity::get(descriptor.w[0]);
  if (granularity == kPage) regs_.write64(address, descriptor.w[1]);
  regs_.write64(command, IotlbStart::make(1) | IotlbGranularity::make(granularity) |
                             IotlbDrainReads::make(IotlbDescriptorDrainReads::get(descriptor.w[0])) |
                             IotlbDrainWrites::make(IotlbDescriptorDrainWrites::get(descriptor.w[0])) |
                             IotlbDomain::make(DescriptorDomain::get(descriptor.w[0])));
  CW_TRY(regs_.poll64(command, idle, "invalidating the IOTLB"));
  // What was asked for was coarsened, which is fine; 0 says that it was not done at all.
  if (IotlbActual::get(regs_.read64(command)) == 0) return fail(EINVAL, "the remapping unit refused an invalidation");
  return {};
}

InvalidatorStats RegisterInvalidation::stats() const {
  sync::SpinLockGuard guard(lock_);
  return stats_;
}

}  // namespace causeway::iommu::vtd
