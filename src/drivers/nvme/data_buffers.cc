#include "drivers/nvme/data_buffers.h"

namespace causeway::drivers::nvme {

Status DataBuffers::allocate(uint32_t count, uint32_t size) {
  size_ = size;
  for (uint32_t i = 0; i < count; ++i)
    buffers_.push_back(CW_TRY(kho_.allocator().alloc_pages(order(), mm::kGfpKernel | mm::kGfpZero)));
  return {};
}

Status DataBuffers::restore(std::span<const uint64_t> blocks, uint32_t size) {
  size_ = size;
  for (uint64_t phys : blocks) {
    mm::Page* page = kho_.restore_page(PhysAddr{phys});
    if (page == nullptr) return fail(EIO, "a data buffer was not preserved");
    buffers_.push_back(page);
  }
  return {};
}

Status DataBuffers::preserve(std::span<uint64_t> blocks) {
  for (uint32_t i = 0; i < count(); ++i) {
    CW_TRY(kho_.preserve_page(buffers_[i], order()));
    blocks[i] = phys(i).value();
  }
  preserved_ = true;
  return {};
}

void DataBuffers::release() {
  for (mm::Page* page : buffers_) {
    if (preserved_ && !freed_) kho_.unpreserve_page(page, order());
    if (!freed_) kho_.allocator().free_pages(page, order());
  }
  buffers_.clear();
}

void DataBuffers::free_early() {
  for (mm::Page* page : buffers_) {
    kho_.unpreserve_page(page, order());
    kho_.allocator().free_pages(page, order());
  }
  freed_ = true;
}

}  // namespace causeway::drivers::nvme
