#include "inspect/zstd_file.h"

#include <sys/mman.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/types.h"

namespace causeway::inspect {
namespace {

constexpr uint64_t kMaxLength = uint64_t{1} << 60;

bool is_zero(const std::byte* page, size_t size) {
  return size == 0 || (page[0] == std::byte{0} && std::memcmp(page, page + 1, size - 1) == 0);
}

// Writes the pages that are not zero; `offset` is page aligned, as `bytes` is but for the last piece.
Status write_sparse(int fd, std::span<const std::byte> bytes, uint64_t offset, uint64_t& written, uint64_t max_bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const size_t page = std::min<size_t>(kPageSize, bytes.size() - at);
    if (is_zero(bytes.data() + at, page)) {
      at += page;
      continue;
    }
    size_t end = at + page;
    while (end < bytes.size()) {
      const size_t next = std::min<size_t>(kPageSize, bytes.size() - end);
      if (is_zero(bytes.data() + end, next)) break;
      end += next;
    }
    written += end - at;
    if (written > max_bytes) return fail(EFBIG, "zstd: more unpacked than --max-size allows");
    while (at < end) {
      const ssize_t done = ::pwrite(fd, bytes.data() + at, end - at, static_cast<off_t>(offset + at));
      if (done <= 0) return fail_with_errno("cannot keep the unpacked image in memory");
      at += static_cast<size_t>(done);
    }
  }
  return {};
}

}  // namespace

bool is_zstd(std::span<const std::byte> bytes) {
  uint32_t magic = 0;
  if (bytes.size() < sizeof magic) return false;
  std::memcpy(&magic, bytes.data(), sizeof magic);
  return magic == ZSTD_MAGICNUMBER;
}

Result<UniqueFd> unpack_zstd(std::span<const std::byte> bytes, uint64_t max_bytes, Findings& findings) {
  UniqueFd fd(::memfd_create("causeway image", MFD_CLOEXEC));
  if (!fd) return fail_with_errno("cannot create memory for the unpacked image");
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(), ZSTD_freeDStream);
  if (stream == nullptr) return fail(ENOMEM, "zstd: no memory for its state");

  std::vector<std::byte> buffer(MiB(1));
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  uint64_t length = 0, written = 0;
  size_t hint = 1;
  bool full = false;
  while (in.pos < in.size || full) {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    // The buffer is filled before it is written, so that pieces stay page aligned.
    while (out.pos < out.size) {
      const size_t in_before = in.pos, out_before = out.pos;
      hint = ZSTD_decompressStream(stream.get(), &out, &in);
      if (ZSTD_isError(hint)) {
        if (length + out.pos == 0) return fail(EBADMSG, "zstd: damaged from the start");
        break;
      }
      if (in.pos == in_before && out.pos == out_before) break;
      if (in.pos == in.size && hint == 0) break;
    }
    full = out.pos == out.size;
    CW_TRY(write_sparse(fd.get(), {buffer.data(), out.pos}, length, written, max_bytes));
    length += out.pos;
    if (length > kMaxLength) return fail(EFBIG, "zstd: longer than any memory");
    if (ZSTD_isError(hint)) {
      findings.error("file.compressed-damaged", std::nullopt, "zstd: {} after {} unpacked bytes", ZSTD_getErrorName(hint),
                     length);
      break;
    }
    if (out.pos == 0) break;
  }
  if (!ZSTD_isError(hint) && hint != 0)
    findings.error("file.truncated", std::nullopt, "the compressed file ends early, after {} unpacked bytes", length);
  if (::ftruncate(fd.get(), static_cast<off_t>(length)) != 0)
    return fail_with_errno("cannot keep the unpacked image in memory");
  return fd;
}

}  // namespace causeway::inspect
