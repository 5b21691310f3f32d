// For tests of the tables a unit walks: one kernel's memory, its IOMMU pages, and what it flushed from its caches.
//
//   TestMachine machine;
//   TableKernel first(machine);
//   auto root = must(RootTable::create(first.memory, TableMode::kScalable));
//   first.generation.commit();                   // a second TableKernel on the machine is the next kernel
#pragma once

#include <cstdint>
#include <set>

#include "iommu/iommu_pages.h"
#include "iommu/vtd/table_memory.h"
#include "kho/testing/test_machine.h"
#include "sync/mutex.h"

namespace causeway::iommu::vtd::testing {

struct TableKernel {
  explicit TableKernel(kho::TestMachine& machine)
      : generation(machine),
        pages(*generation.allocator, generation.kho.get()),
        memory(pages, [this](const void* from, uint64_t bytes) {
          sync::MutexLock lock(mutex);
          auto first = reinterpret_cast<uint64_t>(from) / 8;
          for (uint64_t i = 0; i < bytes / 8; ++i) flushed.insert(first + i);
        }) {}
  bool was_flushed(const TableWord* word) const { return flushed.count(reinterpret_cast<uint64_t>(word) / 8) != 0; }

  kho::Generation generation;
  IommuPages pages;
  sync::Mutex mutex{"test.flushed"};
  std::set<uint64_t> flushed;  // words; looked at when no thread flushes
  TableMemory memory;
};

}  // namespace causeway::iommu::vtd::testing
