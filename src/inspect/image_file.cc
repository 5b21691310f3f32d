#include "inspect/image_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/point.h"
#include "inspect/elf_core.h"
#include "inspect/zstd_file.h"

namespace causeway::inspect {
namespace {

Result<uint64_t> size_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_with_errno("cannot ask the image for its size");
  if (S_ISDIR(status.st_mode)) return fail(EISDIR, "the image is a directory");
  if (!S_ISREG(status.st_mode)) return fail(EINVAL, "the image is no regular file: copy it into one");
  if (status.st_size == 0) return fail(EINVAL, "the image is empty");
  return static_cast<uint64_t>(status.st_size);
}

}  // namespace

const char* name_of(ImageKind kind) {
  switch (kind) {
    case ImageKind::kElfCore:
      return "ELF core";
    case ImageKind::kRaw:
      return "raw memory";
    case ImageKind::kLive:
      return "live machine";
  }
  return "?";
}

Result<ImageFile> ImageFile::open(const std::string& path, const OpenOptions& options) {
  ImageFile image;
  image.fd_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!image.fd_) return fail_with_errno("cannot open the image");
  image.file_bytes_ = CW_TRY(size_of(image.fd_.get()));
  CW_FAIL_POINT("inspect.open.map");
  image.mapping_ = CW_TRY(Mapping::shared_read_only(image.fd_.get(), 0, image.file_bytes_));
  if (is_zstd({image.mapping_.data(), image.mapping_.size()})) {
    UniqueFd plain = CW_TRY(
        unpack_zstd({image.mapping_.data(), image.mapping_.size()}, options.max_bytes, image.findings_));
    const uint64_t size = CW_TRY(size_of(plain.get()));
    image.mapping_ = CW_TRY(Mapping::shared_read_only(plain.get(), 0, size));
    image.fd_ = std::move(plain);
    image.compressed_ = true;
  }
  CW_TRY(image.parse({image.mapping_.data(), image.mapping_.size()}, image.fd_.get()));
  return image;
}

Result<ImageFile> ImageFile::from_bytes(std::span<const std::byte> bytes) {
  ImageFile image;
  if (bytes.empty()) return fail(EINVAL, "the image is empty");
  image.file_bytes_ = bytes.size();
  CW_TRY(image.parse(bytes, -1));
  return image;
}

Status ImageFile::parse(std::span<const std::byte> bytes, int fd) {
  if (!is_elf(bytes)) {
    kind_ = ImageKind::kRaw;
    Segment all{.ram_bytes = bytes.size(), .content_bytes = bytes.size(), .data = bytes.data(), .fd = fd};
    memory_ = std::make_unique<SegmentMemory>(std::vector{all}, findings_);
    memory_->set_ram({{PhysAddr(0), bytes.size()}});
    return {};
  }
  kind_ = ImageKind::kElfCore;
  ElfCore core = CW_TRY(parse_elf_core(bytes, fd, findings_));
  memory_ = std::make_unique<SegmentMemory>(std::move(core.segments), findings_);
  hints_ = std::move(core.hints);
  if (!core.ram.empty()) memory_->set_ram(std::move(core.ram));
  return {};
}

}  // namespace causeway::inspect
