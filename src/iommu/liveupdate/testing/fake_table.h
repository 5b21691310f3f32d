// For tests of live update: a page table whose top page points to a page for each mapping, and which is preserved and restored
// as a real one is.
//
//   auto table = must(FakeTable::create(pages));
//   must(table->map(Iova{0x1000}, phys, KiB(4), kRead, &mapped));      // another page
//   table->fail_preserve = ENOMEM;
#pragma once

#include <memory>
#include <optional>

#include "iommu/pt/io_page_table.h"

namespace causeway::iommu::testing {

class FakeTable final : public IoPageTable {
 public:
  static constexpr uint64_t kMost = kPageSize / sizeof(uint64_t);

  static Result<std::unique_ptr<FakeTable>> create(IommuPages& pages) {
    uint64_t* top = CW_TRY(pages.allocate(kOrder0));
    return std::unique_ptr<FakeTable>(new FakeTable(pages, top));
  }
  ~FakeTable() override {
    for (uint64_t i = 0; i < used(); ++i) pages_.free(child(i));
    pages_.free(top_);
  }

  int fail_preserve = 0;
  int fail_restore = 0;
  bool may_grow = true;

  const char* format() const override { return "fake"; }
  Info info() const override { return {.page_sizes = kPageSize}; }
  Root root() const override { return {pages_.phys(top_), 0}; }
  uint32_t features() const override { return 0; }

  Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t, uint64_t* mapped) override {
    if (size != kPageSize || used() == kMost) return fail(EINVAL, "the fake table maps a page at a time");
    if (!may_grow) return fail(EBUSY, "the table is being handed over");
    uint64_t* page = CW_TRY(pages_.allocate(kOrder0));
    page[0] = iova.value();
    page[1] = phys.value();
    if (preserved_) CW_TRY(pages_.preserve(page));
    top_[used()] = pages_.phys(page).value();
    *mapped = size;
    return {};
  }
  uint64_t unmap(Iova, uint64_t, Gather&) override { return 0; }
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override {
    for (uint64_t i = 0; i < used(); ++i)
      if (child(i)[0] == iova.value()) return PhysAddr(child(i)[1]);
    return std::nullopt;
  }
  void for_each_leaf(const std::function<bool(const Leaf&)>& visit) const override {
    for (uint64_t i = 0; i < used(); ++i)
      if (!visit({Iova(child(i)[0]), PhysAddr(child(i)[1]), kPageSize, kRead | kWrite})) return;
  }
  Status read_and_clear_dirty(Iova, uint64_t, DirtyClear, DirtyBitmap*, Gather&) override {
    return fail(EOPNOTSUPP, "the fake table has no dirty bits");
  }
  Status set_dirty(Iova) override { return fail(EOPNOTSUPP, "the fake table has no dirty bits"); }

  Result<Preserved> preserve() override {
    if (fail_preserve != 0) return fail(fail_preserve, "told to");
    auto all = [&]() -> Status {
      CW_TRY(pages_.preserve(top_));
      for (uint64_t i = 0; i < used(); ++i) CW_TRY(pages_.preserve(child(i)));
      return {};
    };
    if (Status done = all(); !done.has_value()) {
      unpreserve();
      return fail(done.error());
    }
    preserved_ = true;
    return Preserved{.top = pages_.phys(top_), .level = 0, .vasz_lg2 = 48};
  }
  void unpreserve() override {
    preserved_ = false;
    for (uint64_t i = 0; i < used(); ++i) pages_.unpreserve(child(i));
    pages_.unpreserve(top_);
  }
  Status restore(const Preserved& preserved) override {
    if (fail_restore != 0) return fail(fail_restore, "told to");
    uint64_t* top = CW_TRY(pages_.restore(preserved.top, kOrder0));
    pages_.free(top_);
    top_ = top;
    for (uint64_t i = 0; i < used(); ++i) CW_TRY(pages_.restore(PhysAddr(top_[i]), kOrder0));
    may_grow = false;
    return {};
  }
  void allow_growth() override { may_grow = true; }

 private:
  FakeTable(IommuPages& pages, uint64_t* top) : pages_(pages), top_(top) {}
  uint64_t used() const {
    uint64_t count = 0;
    while (count < kMost && top_[count] != 0) ++count;
    return count;
  }
  uint64_t* child(uint64_t index) const { return pages_.virt(PhysAddr(top_[index])); }

  IommuPages& pages_;
  uint64_t* top_;
  bool preserved_ = false;
};

}  // namespace causeway::iommu::testing
