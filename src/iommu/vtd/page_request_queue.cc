#include "iommu/vtd/page_request_queue.h"

#include <algorithm>

#include "base/log.h"
#include "base/point.h"
#include "hw/address_map.h"
#include "iommu/vtd/table_memory.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;
using sync::MutexLock;

namespace {

constexpr uint64_t kEntryBytes = sizeof(hw::vtd::PageRequest);

Response code_of(PageResponse response) {
  switch (response) {
    case PageResponse::kSuccess:
      return kResponseSuccess;
    case PageResponse::kFailure:
      return kResponseFailure;
    default:
      return kResponseInvalid;
  }
}

}  // namespace

Result<std::unique_ptr<PageRequestQueue>> PageRequestQueue::create(UnitRegisters& regs, IommuPages& pages, Flush& flush,
                                                                   platform::Interrupts& interrupts) {
  uint64_t* ring = CW_TRY(pages.allocate(kRingOrder));
  auto vector = interrupts.allocate();
  if (!vector) {
    pages.free(ring);
    return fail(vector.error());
  }
  std::unique_ptr<PageRequestQueue> queue(new PageRequestQueue(regs, pages, flush, interrupts, *vector, ring));
  interrupts.set_handler(*vector, [queue = queue.get()] { queue->handle(); });
  regs.write32(kPageRequestControl, EventMask::kMask);
  regs.write64(kPageRequestAddress, pages.phys(ring).value() | QueueSize::make(kRingOrder.value()));
  regs.write64(kPageRequestHead, 0);
  regs.write64(kPageRequestTail, 0);
  regs.write32(kPageRequestStatus, PageRequestPending::kMask | PageRequestOverflow::kMask);
  regs.write32(kPageRequestData, *vector);
  regs.write32(kPageRequestEventAddress, static_cast<uint32_t>(hw::kMsiBase.value()));
  regs.write32(kPageRequestUpper, 0);
  regs.write32(kPageRequestControl, 0);
  return queue;
}

PageRequestQueue::~PageRequestQueue() { interrupts_.release(vector_); }

void PageRequestQueue::add(Bdf source, Pasid pasid, PageRequestHandler handler) {
  auto shared = std::make_shared<const PageRequestHandler>(std::move(handler));
  handlers_.with([&](Handlers& handlers) { handlers[{source.value(), pasid}] = std::move(shared); });
}

void PageRequestQueue::remove(Bdf source, Pasid pasid) {
  handlers_.with([&](Handlers& handlers) { handlers.erase({source.value(), pasid}); });
}

Status PageRequestQueue::drain(Bdf source, Pasid pasid, DomainId domain, unsigned queue_depth, bool has_device_tlb) {
  uint64_t overflows;
  do {
    overflows = stats().overflows;
    // What the device has sent comes into the queue before any of this is done.
    FlushBatch batch(flush_);
    batch.add(fence(true));
    batch.pasid_iotlb(domain, pasid);
    if (has_device_tlb) {
      pasid == kNoPasid ? batch.device_tlb(source, queue_depth) : batch.pasid_device_tlb(source, pasid, queue_depth);
    }
    CW_TRY(batch.submit());
    // Whoever handles requests now has finished when this begins.
    handle();
  } while (stats().overflows != overflows);
  MutexLock lock(mutex_);
  std::erase_if(partial_, [&](const PageRequestGroup& group) { return group.source == source && group.pasid == pasid; });
  return {};
}

unsigned PageRequestQueue::handle() {
  MutexLock lock(mutex_);
  // First: what comes from here on is a new event.
  regs_.write32(kPageRequestStatus, PageRequestPending::kMask);
  const uint64_t tail = regs_.read64(kPageRequestTail) % kRingBytes;
  uint64_t head = regs_.read64(kPageRequestHead) % kRingBytes;
  unsigned count = 0;
  for (; head != tail; head = (head + kEntryBytes) % kRingBytes) {
    handle_one(TableMemory::read<hw::vtd::PageRequest>(ring_ + head / sizeof(uint64_t)));
    ++count;
  }
  regs_.write64(kPageRequestHead, head);
  stats_.requests += count;
  if (PageRequestOverflow::get(regs_.read32(kPageRequestStatus)) != 0) {
    log::warn("iommu", "{}: page requests were lost, the queue was full", regs_.name());
    ++stats_.overflows;
    // The last one of a group may be among them; its device begins anew.
    partial_.clear();
    regs_.write32(kPageRequestStatus, PageRequestOverflow::kMask);
  }
  return count;
}

bool PageRequestQueue::is_canonical(uint64_t address) const {
  const unsigned sign = regs_.caps().first_stage_5_levels() ? 56 : 47;
  const auto top = static_cast<int64_t>(address) >> sign;
  return top == 0 || top == -1;
}

void PageRequestQueue::handle_one(const hw::vtd::PageRequest& entry) {
  PageRequestGroup group;
  group.source = Bdf(static_cast<uint16_t>(RequestSource::get(entry.w[0])));
  const bool has_pasid = RequestPasidPresent::get(entry.w[0]) != 0;
  group.pasid = has_pasid ? static_cast<Pasid>(RequestPasid::get(entry.w[0])) : kNoPasid;
  group.group = static_cast<uint32_t>(RequestGroup::get(entry.w[1]));
  const uint64_t address = entry.w[1] & kAddressMask;
  const bool bad = RequestExecute::get(entry.w[0]) != 0 || RequestPrivileged::get(entry.w[0]) != 0 ||
                   !is_canonical(address);
  const bool last = RequestLast::get(entry.w[1]) != 0;
  if (bad)
    log::error("iommu", "{}: {} asks for {:#x}, which it cannot be given", regs_.name(), group.source, address);
  if (!last && bad) return;

  PageRequestGroup all = take_partial(group);
  all.pages.push_back({Iova(address), RequestRead::get(entry.w[1]) != 0, RequestWrite::get(entry.w[1]) != 0});
  if (!last) return partial_.push_back(std::move(all));

  PageResponse response = PageResponse::kInvalid;
  if (bad) {
    ++stats_.refused;
  } else {
    response = ask_handler(all);
  }
  CW_POINT("iommu.vtd.page_request.answered");
  QueueDescriptor answer = page_response(group.source, group.pasid, has_pasid, group.group, code_of(response));
  if (Status sent = flush_.submit({&answer, 1}); !sent)
    log::error("iommu", "{}: {} gets no answer: {}", regs_.name(), group.source, to_string(sent.error()));
}

// What came of the group before, which is not kept any longer.
PageRequestGroup PageRequestQueue::take_partial(const PageRequestGroup& key) {
  auto found = std::find_if(partial_.begin(), partial_.end(), [&](const PageRequestGroup& one) {
    return one.source == key.source && one.pasid == key.pasid && one.group == key.group;
  });
  if (found == partial_.end()) return key;
  PageRequestGroup taken = std::move(*found);
  partial_.erase(found);
  return taken;
}

PageResponse PageRequestQueue::ask_handler(const PageRequestGroup& group) {
  std::shared_ptr<const PageRequestHandler> handler = handlers_.with([&](Handlers& handlers) {
    auto found = handlers.find({group.source.value(), group.pasid});
    return found == handlers.end() ? nullptr : found->second;
  });
  if (handler != nullptr) return (*handler)(group);
  ++stats_.refused;
  return PageResponse::kInvalid;
}

PageRequestQueue::Stats PageRequestQueue::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

PhysAddr PageRequestQueue::old_ring(const UnitRegisters& regs) {
  if (!regs.caps().page_requests()) return PhysAddr(0);
  return PhysAddr(regs.read64(kPageRequestAddress) & kAddressMask);
}

void PageRequestQueue::release_old_ring(IommuPages& pages, PhysAddr ring) {
  if (ring.value() == 0 || pages.kho() == nullptr || !pages.check_preserved(ring, kRingOrder)) return;
  auto old = pages.restore(ring, kRingOrder);
  if (old) pages.free(*old);
}

}  // namespace causeway::iommu::vtd
