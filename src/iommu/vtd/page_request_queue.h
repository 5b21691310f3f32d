// The queue in which a unit puts what devices ask for (VT-d 7.4, spec 2.6), and who answers.
//
//   auto queue = CW_TRY(PageRequestQueue::create(regs, pages, flush, interrupts));
//   queue->add(device, pasid, handler);        // before its context entry lets it ask
//   ...
//   queue->remove(device, pasid);              // after nothing new of it can come
//   queue->drain(device, pasid, domain_id, queue_depth);
//
// Requests of nobody in particular, those to execute or with privileges, and those for addresses that are none, are refused
// here. An answer is sent for the last request of a group alone. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "iommu/page_request.h"
#include "iommu/vtd/flush.h"
#include "platform/interrupts.h"
#include "sync/guarded.h"
#include "sync/mutex.h"

namespace causeway::iommu::vtd {

class PageRequestQueue {
 public:
  static constexpr Order kRingOrder{4};
  static constexpr uint64_t kRingBytes = kPageSize << 4;

  // ENOMEM; ENOSPC: no vector is left. What an old kernel's devices asked for is dropped with its ring.
  static Result<std::unique_ptr<PageRequestQueue>> create(UnitRegisters& regs, IommuPages& pages, Flush& flush,
                                                          platform::Interrupts& interrupts);
  // Gives the vector back, and nothing else: the hardware may still write to the ring.
  ~PageRequestQueue();

  void add(Bdf source, Pasid pasid, PageRequestHandler handler);
  void remove(Bdf source, Pasid pasid);
  // Returns when everything that the device asked for in that address space has an answer. Errors of Invalidator::submit().
  Status drain(Bdf source, Pasid pasid, DomainId domain, unsigned queue_depth, bool has_device_tlb);

  // What the interrupt does. Returns how many requests there were.
  unsigned handle();
  struct Stats {
    uint64_t requests = 0;
    uint64_t refused = 0;    // groups that no handler saw
    uint64_t overflows = 0;  // times that requests were lost; their devices try again
  };
  Stats stats() const;

  // -- Live update: until the next kernel has taken the unit over, a device may make the unit write to the ring.
  Status preserve() { return pages_.preserve(ring_); }
  void unpreserve() { pages_.unpreserve(ring_); }
  // The ring of the kernel before, before UnitRegisters::quiesce(); 0: none. Given back once no device can ask any more;
  // nothing, if it was not preserved.
  static PhysAddr old_ring(const UnitRegisters& regs);
  static void release_old_ring(IommuPages& pages, PhysAddr ring);

 private:
  PageRequestQueue(UnitRegisters& regs, IommuPages& pages, Flush& flush, platform::Interrupts& interrupts,
                   uint8_t vector, uint64_t* ring)
      : regs_(regs), pages_(pages), flush_(flush), interrupts_(interrupts), vector_(vector), ring_(ring) {}
  void handle_one(const hw::vtd::PageRequest& entry) CW_REQUIRES(mutex_);
  PageRequestGroup take_partial(const PageRequestGroup& key) CW_REQUIRES(mutex_);
  PageResponse ask_handler(const PageRequestGroup& group) CW_REQUIRES(mutex_);
  bool is_canonical(uint64_t address) const;

  UnitRegisters& regs_;
  IommuPages& pages_;
  Flush& flush_;
  platform::Interrupts& interrupts_;
  const uint8_t vector_;
  uint64_t* const ring_;
  using Handlers = std::map<std::pair<uint16_t, Pasid>, std::shared_ptr<const PageRequestHandler>>;
  sync::Guarded<Handlers> handlers_{sync::LockName{"iommu.vtd.page_request_handlers"}};
  mutable sync::Mutex mutex_{"iommu.vtd.page_requests"};  // held while requests are handled
  std::vector<PageRequestGroup> partial_ CW_GUARDED_BY(mutex_);  // whose last request is still to come
  Stats stats_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::iommu::vtd
