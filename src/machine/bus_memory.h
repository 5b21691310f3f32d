// The bus memfd as the machine sees it: created, sealed against resizing, laid out per hw/bus.h.
//
//   BusMemory bus = CW_TRY(BusMemory::create());
//   bus.request_ring().head.store(head);
//
// A kernel maps the same pages and may scribble on all of them, so what the machine itself depends on
// (register values, indices, the region list) is kept elsewhere and only mirrored here.
#pragma once

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "hw/bus.h"

namespace causeway::machine {

// A sparse memfd of fixed size: nobody who holds it can shrink it under the machine's feet.
Result<UniqueFd> create_sealed_memfd(const char* name, uint64_t size);

class BusMemory {
 public:
  static Result<BusMemory> create();

  int fd() const { return fd_.get(); }
  hw::BusHeader& header() const { return *mapping_.at<hw::BusHeader>(0); }
  hw::RegionEntry& region(uint32_t index) const {
    return mapping_.at<hw::RegionEntry>(hw::kRegionTable)[index];
  }
  hw::InterruptMailbox& interrupt_mailbox() const {
    return *mapping_.at<hw::InterruptMailbox>(hw::kInterruptMailbox);
  }
  hw::RequestRing& request_ring() const { return *mapping_.at<hw::RequestRing>(hw::kRequestRing); }
  // Configuration space of one function.
  std::byte* ecam(Bdf bdf) const;
  // A register page; `address` lies in the BAR window.
  std::byte* bar(PhysAddr address) const;
  // The register page of an IOMMU.
  std::byte* iommu(unsigned index) const { return mapping_.data() + hw::kIommuWindow + index * kPageSize; }
  std::byte* firmware_table() const { return mapping_.data() + hw::kFirmwareTable; }

 private:
  BusMemory(UniqueFd fd, Mapping mapping) : fd_(std::move(fd)), mapping_(std::move(mapping)) {}
  UniqueFd fd_;
  Mapping mapping_;
};

}  // namespace causeway::machine
