// Physical memory in a plain buffer, for tests of the tree and the reader: a NodeSource that hands out
// pages, and a PhysReader of the same pages.
//
//   BufferMemory memory(MiB(1));
//   auto tree = RadixTree::create(memory, Format::kV4);
//   Image::read(memory, handover);
#pragma once

#include <algorithm>
#include <cstring>
#include <set>

#include "base/mapping.h"
#include "kho/image.h"
#include "kho/radix_tree.h"

namespace causeway::kho {

class BufferMemory : public NodeSource, public PhysReader {
 public:
  // Addresses [0, size) have contents; is_ram() also holds for the addresses up to `ram_size`.
  explicit BufferMemory(uint64_t size, uint64_t ram_size = 0)
      : bytes_(*Mapping::sparse(size)), ram_size_(std::max(size, ram_size)) {}

  // Pages are handed out from here, the lowest free one first.
  void allocate_from(PhysAddr address) { next_ = address.value() / kPageSize; }
  void fail_after(int allocations) { allocations_left_ = allocations; }
  uint64_t allocated() const { return allocated_.size(); }
  Result<PhysAddr> alloc_zeroed_page() override {
    if (allocations_left_ == 0) return fail(ENOMEM, "the test's memory is exhausted on request");
    if (allocations_left_ > 0) --allocations_left_;
    uint64_t page = next_;
    while (page < size() / kPageSize && allocated_.contains(page)) ++page;
    if (page == size() / kPageSize) return fail(ENOMEM, "the test's memory is exhausted");
    allocated_.insert(page);
    const PhysAddr address(page * kPageSize);
    std::memset(to_virt(address), 0, kPageSize);
    return address;
  }
  void free_page(PhysAddr page) override {
    allocated_.erase(page.value() / kPageSize);
    std::memset(to_virt(page), 0xee, kPageSize);
  }
  std::byte* to_virt(PhysAddr address) const override { return bytes_.data() + address.value(); }
  const std::byte* at(PhysAddr address, uint64_t size) const override {
    return size <= bytes_.size() && address.value() <= bytes_.size() - size ? to_virt(address) : nullptr;
  }
  bool is_ram(PhysAddr address, uint64_t size) const override {
    return size <= ram_size_ && address.value() <= ram_size_ - size;
  }

  template <typename T>
  T& as(uint64_t address) {
    return *reinterpret_cast<T*>(to_virt(PhysAddr(address)));
  }
  uint64_t& word(uint64_t address) { return as<uint64_t>(address); }
  uint8_t byte(uint64_t address) { return as<uint8_t>(address); }
  uint64_t size() const { return bytes_.size(); }

 private:
  Mapping bytes_;
  uint64_t ram_size_;
  uint64_t next_ = 1;  // never page 0
  int allocations_left_ = -1;
  std::set<uint64_t> allocated_;
};

}  // namespace causeway::kho
