#include "iommu/vtd/table_memory.h"

namespace causeway::iommu::vtd {

bool is_ram(IommuPages& pages, PhysAddr address) {
  mm::MemMap& map = pages.allocator().map();
  const Pfn pfn = Pfn::containing(address);
  return pfn.value() < map.end_pfn() && map.page(pfn) != nullptr;
}

void TableMemory::store(TableWord* word, TableWord value) {
  std::atomic_ref(*word).store(value, std::memory_order_release);
  flush(word, sizeof *word);
}

// The first word makes the hardware look at the others. One that does not snoop fetches lines when it likes: the others
// are flushed before the first is written at all.
void TableMemory::publish(TableWord* words, const TableWord* values, unsigned count) {
  bool vanishes = (values[0] & kPresent) == 0;
  if (vanishes) store(words, values[0]);
  for (unsigned i = 1; i < count; ++i) std::atomic_ref(words[i]).store(values[i], std::memory_order_release);
  if (count > 1) flush(words + 1, (count - 1) * sizeof *words);
  if (!vanishes) store(words, values[0]);
}

}  // namespace causeway::iommu::vtd
