// Owner of one mmap() area.
//
//   Mapping bus = CW_TRY(Mapping::shared(fd.get(), 0, size));
//   auto* header = bus.at<BusHeader>(0);
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace causeway {

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  // Address space only: PROT_NONE, no memory behind it.
  static Result<Mapping> reserve(size_t size);
  // Zero pages, made on first touch, never counted against overcommit.
  static Result<Mapping> sparse(size_t size);
  // `size` bytes of the file from `offset`, read-write and shared.
  static Result<Mapping> shared(int fd, uint64_t offset, size_t size);
  // The same for reading only; also of a file that is sealed against writing.
  static Result<Mapping> shared_read_only(int fd, uint64_t offset, size_t size);

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  explicit operator bool() const { return data_ != nullptr; }
  template <typename T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  Mapping(std::byte* data, size_t size) : data_(data), size_(size) {}
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace causeway
