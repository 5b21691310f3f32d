// Memory for page tables under test, and the check that nothing of it is left.
//
//   TableMemory memory;
//   auto table = must(make_vtdss({.pages = memory.pages}));
//   ...
//   table.reset();                      // memory's destructor fails the test if a table is left
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "iommu/pt/io_page_table.h"
#include "kho/testing/test_machine.h"

namespace causeway::iommu {

// A generation's memory; the next one on the same machine finds what was preserved.
struct TableMemory {
  explicit TableMemory(kho::TestMachine& machine) : generation(machine) {}
  ~TableMemory() {
    EXPECT_TRUE(ends || pages.pages() == 0) << pages.pages() << " pages of tables are left";
    generation.expect_sound();
  }
  bool ends = false;  // the kernel is gone, its tables are not
  kho::Generation generation;
  IommuPages pages{*generation.allocator, generation.kho.get()};
};

// Stands for the hardware: what an unmap leaves is flushed, and its tables are freed.
inline uint64_t unmap_and_free(IoPageTable& table, IommuPages& pages, Iova iova, uint64_t size) {
  Gather gather;
  const uint64_t unmapped = table.unmap(iova, size, gather);
  pages.free(gather.freed);
  return unmapped;
}

inline std::vector<IoPageTable::Leaf> leaves_of(const IoPageTable& table) {
  std::vector<IoPageTable::Leaf> leaves;
  table.for_each_leaf([&](const IoPageTable::Leaf& leaf) {
    leaves.push_back(leaf);
    return true;
  });
  return leaves;
}

}  // namespace causeway::iommu
