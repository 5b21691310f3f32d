// What is behind a namespace: a file, or anonymous memory that goes with the machine.
//
//   auto backing = CW_TRY(nvme::Backing::open({.file = "disk.img"}));
//   CW_TRY(backing->read(offset, buffer, 4096));
//
// Thread-safe as far as a disk is: overlapping accesses under way at the same time have no order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "machine/device_spec.h"

namespace causeway::machine::nvme {

class Backing {
 public:
  // A file must exist, unless a size is given: then it is made, and grown to that size. Errors: EINVAL
  // (shorter than a block), those of open() and mmap().
  static Result<std::unique_ptr<Backing>> open(const NvmeOptions& options);

  // Whole blocks.
  uint64_t size() const { return size_; }
  // Anonymous memory as such, which needs no copy in between; null: a file.
  std::byte* memory() const { return memory_.data(); }

  // Inside size(). Errors: EIO (also a file that has been cut), those of the system.
  Status read(uint64_t offset, std::byte* to, uint64_t bytes) const;
  Status write(uint64_t offset, const std::byte* from, uint64_t bytes);
  Status zero(uint64_t offset, uint64_t bytes);
  // What has been written before is as durable as the file can make it.
  Status flush();

 private:
  Backing(UniqueFd fd, uint64_t size, Mapping memory)
      : fd_(std::move(fd)), size_(size), memory_(std::move(memory)) {}
  UniqueFd fd_;
  uint64_t size_;
  Mapping memory_;
};

}  // namespace causeway::machine::nvme
