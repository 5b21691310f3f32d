#include "memfd/copied_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/point.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

namespace causeway::memfd {

namespace {

// An executable file could not be sealed against it without being sealed against writing too.
Result<UniqueFd> create_memfd(uint32_t seals) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd fd;
  if ((seals & F_SEAL_EXEC) != 0) fd.reset(::memfd_create("", flags | MFD_NOEXEC_SEAL));
  if (!fd) fd.reset(::memfd_create("", flags));
  if (!fd) return fail_with_errno("cannot create a memfd for preserved contents");
  return fd;
}

bool is_zero(const std::byte* page) {
  static constexpr std::byte kZeros[kPageSize] = {};
  return std::memcmp(page, kZeros, kPageSize) == 0;
}

Status write_all(int fd, const std::byte* from, uint64_t bytes, uint64_t at) {
  while (bytes > 0) {
    const ssize_t written = ::pwrite(fd, from, bytes, static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_with_errno("cannot write preserved contents");
    from += written;
    at += static_cast<uint64_t>(written);
    bytes -= static_cast<uint64_t>(written);
  }
  return {};
}

// Runs of pages that hold something, up to the file's end.
Status write_pages(int fd, const std::byte* data, uint64_t pages, uint64_t index, uint64_t size) {
  for (uint64_t i = 0; i < pages;) {
    if (is_zero(data + i * kPageSize)) {
      ++i;
      continue;
    }
    uint64_t end = i + 1;
    while (end < pages && !is_zero(data + end * kPageSize)) ++end;
    const uint64_t at = (index + i) * kPageSize;
    if (at >= size) return {};
    CW_TRY(write_all(fd, data + i * kPageSize, std::min((end - i) * kPageSize, size - at), at));
    i = end;
  }
  return {};
}

// Through its file, and not through a mapping, which would fault if the client has shrunk it.
Status read_client_folio(ClientMemory& memory, const Folio& folio, std::vector<std::byte>& to) {
  std::shared_ptr<Adopted> region = memory.find(folio.pfn.address());
  const uint64_t bytes = folio.order.bytes();
  if (region == nullptr || bytes > region->size() - (folio.pfn.address() - region->base()))
    return fail(EIO, "a folio of client memory has no file");
  UniqueFd fd = CW_TRY(region->descriptor());
  to.assign(bytes, std::byte{0});
  const auto from = static_cast<off_t>(folio.pfn.address() - region->base());
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(fd.get(), to.data() + done, bytes - done, from + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(EIO, "a client's file cannot be read");
    if (got == 0) break;  // the rest is beyond its end
    done += static_cast<uint64_t>(got);
  }
  return {};
}

}  // namespace

Result<UniqueFd> make_copy(ClientMemory& memory, kho::Kho& kho, const Record& record) {
  const abi::Ser& ser = record.ser();
  UniqueFd fd = CW_TRY(create_memfd(ser.seals));
  if (::ftruncate(fd.get(), static_cast<off_t>(ser.size)) != 0)
    return fail_with_errno("cannot give a memfd its preserved size");
  std::vector<std::byte> buffer;
  for (const Folio& folio : record.folios()) {
    CW_FAIL_POINT("memfd.copy.before_folio");
    const std::byte* data = nullptr;
    if (folio.client) {
      CW_TRY(read_client_folio(memory, folio, buffer));
      data = buffer.data();
    } else {
      data = kho.map().direct_map().to_virt(folio.pfn.address());
    }
    CW_TRY(write_pages(fd.get(), data, folio.order.pages(), folio.index, ser.size));
  }
  // Last: some of them would have kept the contents out.
  if (::fcntl(fd.get(), F_ADD_SEALS, static_cast<int>(ser.seals)) != 0)
    return fail_with_errno("cannot seal a memfd as it was");
  if (::lseek(fd.get(), static_cast<off_t>(ser.position), SEEK_SET) < 0)
    return fail_with_errno("cannot set a memfd's preserved position");
  return fd;
}

}  // namespace causeway::memfd
