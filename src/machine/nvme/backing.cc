#include "machine/nvme/backing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "machine/bus_memory.h"

namespace causeway::machine::nvme {

Result<std::unique_ptr<Backing>> Backing::open(const NvmeOptions& options) {
  if (options.file.empty()) {
    uint64_t size = align_up(options.size, kPageSize);
    UniqueFd fd = CW_TRY(create_sealed_memfd("causeway-nvme", size));
    Mapping memory = CW_TRY(Mapping::shared(fd.get(), 0, size));
    return std::unique_ptr<Backing>(
        new Backing(std::move(fd), align_down(options.size, options.block_size), std::move(memory)));
  }
  int create = options.size != 0 ? O_CREAT : 0;
  UniqueFd fd(::open(options.file.c_str(), O_RDWR | O_CLOEXEC | create, 0600));
  if (!fd) return fail_with_errno("cannot open the file behind an nvme device");
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return fail_with_errno("cannot look at the file behind an nvme device");
  if (!S_ISREG(info.st_mode)) return fail(EINVAL, "what is behind an nvme device is not a regular file");
  auto size = static_cast<uint64_t>(info.st_size);
  if (size < options.size) {
    size = options.size;
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
      return fail_with_errno("cannot grow the file behind an nvme device");
  }
  size = align_down(size, options.block_size);
  if (size == 0) return fail(EINVAL, "the file behind an nvme device is shorter than a block");
  return std::unique_ptr<Backing>(new Backing(std::move(fd), size, Mapping()));
}

Status Backing::read(uint64_t offset, std::byte* to, uint64_t bytes) const {
  while (bytes != 0) {
    ssize_t done = ::pread(fd_.get(), to, bytes, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_with_errno("cannot read the file behind an nvme device");
    if (done == 0) return fail(EIO, "the file behind an nvme device has become shorter");
    to += done;
    offset += static_cast<uint64_t>(done);
    bytes -= static_cast<uint64_t>(done);
  }
  return {};
}

Status Backing::write(uint64_t offset, const std::byte* from, uint64_t bytes) {
  while (bytes != 0) {
    ssize_t done = ::pwrite(fd_.get(), from, bytes, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return fail_with_errno("cannot write the file behind an nvme device");
    from += done;
    offset += static_cast<uint64_t>(done);
    bytes -= static_cast<uint64_t>(done);
  }
  return {};
}

Status Backing::zero(uint64_t offset, uint64_t bytes) {
  constexpr int kHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (::fallocate(fd_.get(), kHole, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) return {};
  static constexpr std::array<std::byte, 64 * 1024> kZeros{};
  while (bytes != 0) {
    uint64_t step = std::min<uint64_t>(bytes, kZeros.size());
    CW_TRY(write(offset, kZeros.data(), step));
    offset += step;
    bytes -= step;
  }
  return {};
}

Status Backing::flush() {
  if (memory() != nullptr) return {};
  if (::fdatasync(fd_.get()) != 0) return fail_with_errno("cannot flush the file behind an nvme device");
  return {};
}

}  // namespace causeway::machine::nvme
