// An image file, opened: an ELF core (a kernel's vmcore, QEMU's dump-guest-memory, our own), or raw memory whose file offset
// is the physical address; either also compressed with zstd.
//
//   ImageFile image = CW_TRY(ImageFile::open("vmcore.zst", {}));
//   Report report = decode(image.memory(), options_for(image));
//
// Untrusted: headers are checked against the file, what is cut off or odd becomes a finding. A file is
// mapped, not read, so what nobody asks for costs nothing; it must not shrink meanwhile. A compressed one is unpacked into
// memory: its non-zero pages, at most OpenOptions::max_bytes.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "inspect/finding.h"
#include "inspect/memory.h"

namespace causeway::inspect {

enum class ImageKind : uint8_t { kElfCore, kRaw, kLive };
const char* name_of(ImageKind kind);

// Where the handover is, as far as something says so.
struct Hints {
  std::optional<PhysAddr> fdt;
  PhysAddr scratch_addr;
  uint64_t scratch_size = 0;  // bytes of the array, 0: not known
  std::string release;
  uint32_t generation = 0;
  bool metadata_only = false;
};

struct OpenOptions {
  uint64_t max_bytes = GiB(16);  // non-zero contents of a compressed image
};

class ImageFile {
 public:
  // Errors: those of open(2) and mmap(2); EINVAL (empty, or no regular file), EFBIG (more than max_bytes), EBADMSG
  // (compressed data damaged), ENOEXEC (an ELF file that is no 64-bit little-endian core).
  static Result<ImageFile> open(const std::string& path, const OpenOptions& options);
  // The bytes of a file that is not compressed; they outlive the result.
  static Result<ImageFile> from_bytes(std::span<const std::byte> bytes);

  const SegmentMemory& memory() const { return *memory_; }
  const Hints& hints() const { return hints_; }
  const Findings& findings() const { return findings_; }  // of the file itself
  ImageKind kind() const { return kind_; }
  bool compressed() const { return compressed_; }
  uint64_t file_bytes() const { return file_bytes_; }  // as it lies there

 private:
  ImageFile() = default;
  Status parse(std::span<const std::byte> bytes, int fd);

  UniqueFd fd_;
  Mapping mapping_;
  std::unique_ptr<SegmentMemory> memory_;
  Hints hints_;
  Findings findings_{200};
  ImageKind kind_ = ImageKind::kRaw;
  bool compressed_ = false;
  uint64_t file_bytes_ = 0;
};

}  // namespace causeway::inspect
