#include "base/mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

namespace causeway {

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) ::munmap(data_, size_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Result<Mapping> Mapping::reserve(size_t size) {
  void* data = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return fail_with_errno("cannot reserve address space");
  return Mapping(static_cast<std::byte*>(data), size);
}

Result<Mapping> Mapping::sparse(size_t size) {
  void* data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return fail_with_errno("cannot map sparse memory");
  return Mapping(static_cast<std::byte*>(data), size);
}

Result<Mapping> Mapping::shared(int fd, uint64_t offset, size_t size) {
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return fail_with_errno("cannot map a shared descriptor");
  return Mapping(static_cast<std::byte*>(data), size);
}

Result<Mapping> Mapping::shared_read_only(int fd, uint64_t offset, size_t size) {
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  // Linux before 6.7 does not share a write-sealed file through a descriptor that could write. A private
  // mapping that is never written to shows the same pages.
  if (data == MAP_FAILED && errno == EPERM)
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return fail_with_errno("cannot map a descriptor for reading");
  return Mapping(static_cast<std::byte*>(data), size);
}

}  // namespace causeway
