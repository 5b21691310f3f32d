// Memory of client programs that is machine memory: a client's memfd, hot-added as it is, without a copy.
//
//   ClientMemory memory(platform, allocator, kho);
//   std::shared_ptr<Adopted> memfd = CW_TRY(memory.adopt(*native_file));
//   device_writes_to(memfd->base() + offset);       // real page frames
//   memfd.reset();                                  // the last reference removes the region
//
// One region per file, however often it is adopted. Users: the memfd handler, and whatever maps client
// files for devices (IOMMU_IOAS_MAP_FILE); each holds its own reference for as long as frame numbers are in use.
//
// The frames are reserved memory of the page allocator: they have an owner and are never handed out. The file stays
// the client's, who may change its size at any time: a device's access beyond the end is a refused DMA.
//
// Regions of an earlier kernel are *inherited*: those with blocks in the incoming handover stay until their blocks
// have been claimed, or for this boot; the others are dropped by drop_unused() after the boot's commit.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "base/types.h"
#include "base/unique_fd.h"
#include "file/native_file.h"
#include "kho/kho.h"
#include "mm/page_allocator.h"
#include "platform/platform.h"

namespace causeway::memfd {

// A reference to a region. Thread-safe.
class Adopted {
 public:
  ~Adopted();  // the last one of a region removes it from the machine
  Adopted(const Adopted&) = delete;
  Adopted& operator=(const Adopted&) = delete;

  PhysAddr base() const { return range_.base; }
  uint64_t size() const { return range_.size; }  // bytes, whole pages
  PfnRange frames() const { return {Pfn::containing(base()), Pfn::containing(base() + size())}; }
  bool writable() const { return range_.writable; }  // false: a device's write is refused
  file::Identity identity() const { return {range_.device, range_.inode}; }
  // The machine's descriptor of the file: one more of the same open file. EMFILE; ECONNRESET: no machine.
  Result<UniqueFd> descriptor() const;
  // Makes the region readable through the direct map, writable if it is so. Only for who can live with
  // a fault: the client may shrink its file. Done once; later calls cost nothing.
  Status map();

 private:
  friend class ClientMemory;
  struct Shared;
  Adopted(std::shared_ptr<Shared> shared, platform::RamRange range)
      : shared_(std::move(shared)), range_(range) {}
  std::shared_ptr<Shared> shared_;
  const platform::RamRange range_;
};

class ClientMemory {
 public:
  // Takes charge of the regions that are there. All three outlive it and every Adopted.
  ClientMemory(platform::Platform& platform, mm::PageAllocator& allocator, kho::Kho& kho);
  ~ClientMemory();  // abandon()

  // The region of the file, hot-added if it has none that is large enough. The whole file, rounded up to pages.
  // EINVAL: an empty file, or not memory; ENOMEM: no physical addresses or no table entry left; EACCES: not
  // even readable; and those of the machine.
  Result<std::shared_ptr<Adopted>> adopt(const file::NativeFile& file);
  // The region that contains `address`; null: none does.
  std::shared_ptr<Adopted> find(PhysAddr address);

  // While the result lives, regions that nobody uses any more stay; then they go together, at a fraction of the cost.
  std::shared_ptr<void> defer_removals();
  // Removes every region that nobody uses and the incoming handover does not name. Returns how many. For after the
  // boot's commit; it may run beside everything else.
  uint64_t drop_unused();
  uint64_t regions() const;

  // This kernel dies: from now on no region is removed, for they are its successor's. What still holds an Adopted may
  // be destroyed afterwards in any order.
  void abandon();

 private:
  std::shared_ptr<Adopted::Shared> shared_;
};

}  // namespace causeway::memfd
