// A domain whose page table is plain memory, and whose IOTLB shows what real ones do: a translation that a device has
// used stays usable after the unmap, until it is flushed.
//
//   MapDomain domain({.type = DomainType::kDmaFq});
//   CW_TRY(domain.map(Iova{0x10000}, phys, KiB(8), kRead | kWrite));
//   MapDomain::Run run = domain.translate(Iova{0x10040}, 64, kWrite);     // as a device's access; run.bytes == 0: a fault
//
// The table is a radix tree with one word per granule, of the depth the aperture needs; map() and unmap() are lock-free.
// Tables stay until the domain goes. Only devices fill the IOTLB, so syncs cost a lock and no more where there are none.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <unordered_map>

#include "iommu/domain.h"
#include "iommu/pt/io_page_table.h"
#include "mm/per_cpu_lists.h"
#include "sync/guarded.h"

namespace causeway::iommu {

class MapDomain final : public Domain {
 public:
  struct Options {
    DomainType type = DomainType::kDma;
    uint64_t page_sizes = KiB(4);  // the lowest one, at least 256 bytes, is what the table is made of
    Aperture aperture{.start = Iova{0}, .end = Iova{(uint64_t{1} << 48) - 1}, .force = true};
    bool cache_invalid = false;  // a refused access is remembered until sync_map() or a flush (caching mode)
  };
  struct Counts {
    uint64_t maps = 0, unmaps = 0;  // calls that changed something
    uint64_t sync_maps = 0, syncs = 0, flushes = 0;
    uint64_t mapped_bytes = 0;  // now
  };
  struct Run {
    PhysAddr phys;
    uint64_t bytes = 0;
  };
  struct Entry {
    PhysAddr phys;
    uint32_t prot = 0;
  };

  explicit MapDomain(const Options& options);
  MapDomain() : MapDomain(Options{}) {}
  ~MapDomain() override;

  DomainType type() const override { return options_.type; }
  uint64_t page_sizes() const override { return options_.page_sizes; }
  Aperture aperture() const override { return options_.aperture; }

  // ERANGE also for what leaves physical memory's 52 bits.
  Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) override;
  void sync_map(Iova iova, uint64_t size) override;
  uint64_t unmap(Iova iova, uint64_t size, Gather& gather) override;
  void sync(Gather& gather) override;
  void flush_all() override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;

  // What a device finds: the IOTLB first, then the table. `access` is kRead or kWrite. Bytes of one contiguous run, at
  // most `bytes`; 0: a fault. An identity domain lets everything pass, a blocked one nothing.
  Run translate(Iova iova, uint64_t bytes, uint32_t access);

  // The table alone, as the domain's owner wrote it.
  std::optional<Entry> find(Iova iova) const;
  // As of an IoPageTable, granule by granule.
  void for_each_leaf(const std::function<bool(const IoPageTable::Leaf&)>& visit) const;
  Counts counts() const;
  // The n-th map() from now fails, n >= 1; nothing is mapped.
  void fail_map(unsigned nth, int code);

 private:
  static constexpr unsigned kBits = 9;
  static constexpr size_t kSlots = size_t{1} << kBits;
  static constexpr uint64_t kPresent = 1u << 7;
  static constexpr uint64_t kProtMask = 0x3f;
  struct Table;
  struct Leaf;

  bool in_range(Iova iova, uint64_t size) const;
  Leaf* leaf_of(uint64_t page) const;
  Leaf* make_leaf(uint64_t page);
  void destroy(Table* table, unsigned level);
  bool walk(const void* at, unsigned level, uint64_t page, const std::function<bool(const IoPageTable::Leaf&)>& visit) const;
  uint64_t word(uint64_t page) const;
  void forget(Iova first, Iova last, bool invalid_alone);

  const Options options_;
  const unsigned shift_;   // of the granule
  const unsigned levels_;  // above the leaves
  Table* const root_;
  // Counted where the thread counts, so that threads do not share a line.
  struct alignas(64) Counters {
    std::atomic<uint64_t> maps{0}, unmaps{0}, sync_maps{0}, syncs{0}, mapped{0};
  };
  Counters& counters();
  std::array<Counters, mm::kCpuSlots> counters_;
  std::atomic<uint64_t> flushes_{0};
  std::atomic<unsigned> fail_in_{0};
  std::atomic<int> fail_code_{0};
  // By page; a word of 0 is a remembered fault.
  sync::Guarded<std::unordered_map<uint64_t, uint64_t>, sync::SpinLock> tlb_{sync::LockName{"iommu.map_domain.tlb"}};
};

}  // namespace causeway::iommu
