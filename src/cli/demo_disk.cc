#include "cli/demo_disk.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/unique_fd.h"
#include "drivers/nvme/block_content.h"

namespace causeway::cli {
namespace {

constexpr uint64_t kChunk = 256 * drivers::nvme::kContentBlock;

// By the program everybody has: what it says does not depend on anything of ours.
Result<std::string> sha256sum(int fd) {
  std::string command = fmt::format("exec sha256sum /proc/{}/fd/{} 2>/dev/null", ::getpid(), fd);
  std::FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return fail_with_errno("cannot start sha256sum");
  char text[65] = {};
  size_t got = std::fread(text, 1, 64, pipe);
  if (::pclose(pipe) != 0 || got != 64) return fail(ENOENT, "sha256sum does not answer: install coreutils");
  return std::string(text);
}

// The file as the driver says it wrote it.
Result<UniqueFd> make_expected(const drivers::nvme::NvmeStats& nvme, uint64_t disk_bytes) {
  UniqueFd file(::memfd_create("demo-expected", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(disk_bytes)) != 0)
    return fail_with_errno("no memory for what the disk has to be");
  std::vector<std::byte> chunk(kChunk);
  for (uint64_t at = 0; at < nvme.file_bytes; at += kChunk) {
    uint64_t size = std::min(kChunk, nvme.file_bytes - at);
    drivers::nvme::block_content(nvme.file_seed, at / drivers::nvme::kContentBlock, std::span(chunk).first(size));
    if (::pwrite(file.get(), chunk.data(), size, static_cast<off_t>(at)) != static_cast<ssize_t>(size))
      return fail_with_errno("no memory for what the disk has to be");
  }
  return file;
}

}  // namespace

Result<DiskSeen> compare_disk(int disk, const kernel::KernelStatus& status) {
  if (status.nvmes.size() != 1) return fail(EPROTO, "the kernel drives no disk");
  struct stat info;
  if (::fstat(disk, &info) != 0) return fail_with_errno("the disk cannot be looked at");
  DiskSeen seen;
  seen.bytes = static_cast<uint64_t>(info.st_size);
  seen.sha256 = CW_TRY(sha256sum(disk));
  UniqueFd expected = CW_TRY(make_expected(status.nvmes.front().second, seen.bytes));
  seen.expected = CW_TRY(sha256sum(expected.get()));
  return seen;
}

}  // namespace causeway::cli
