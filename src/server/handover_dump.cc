#include "server/handover_dump.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "base/mapping.h"
#include "base/point.h"
#include "base/unique_fd.h"
#include "inspect/finding.h"
#include "inspect/memory.h"

namespace causeway::server {
namespace {

// All RAM, mapped for reading.
struct RamView {
  std::vector<UniqueFd> fds;
  std::vector<Mapping> mappings;
  std::vector<inspect::Segment> segments;
  std::vector<mm::MemRange> ram;
};

Result<RamView> view_ram(const platform::Platform& platform) {
  RamView view;
  for (const platform::RamRange& range : platform.ram()) {
    int fd = range.fd;
    if (fd < 0) {
      view.fds.push_back(CW_TRY(platform.region_fd(range.region)));
      fd = view.fds.back().get();
    }
    view.mappings.push_back(CW_TRY(Mapping::shared_read_only(fd, range.fd_offset, range.size)));
    view.ram.push_back({range.base, range.size});
    view.segments.push_back({.base = range.base,
                             .ram_bytes = range.size,
                             .content_bytes = range.size,
                             .data = view.mappings.back().data(),
                             .fd = fd,
                             .fd_offset = range.fd_offset});
  }
  return view;
}

Status check_file(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_with_errno("no usable file for the dump");
  if (!S_ISREG(status.st_mode)) return fail(EINVAL, "a dump goes into a regular file");
  if (::ftruncate(fd, 0) != 0) return fail_with_errno("the file for the dump cannot be written to");
  return {};
}

}  // namespace

Result<inspect::CoreSummary> dump_handover(platform::Platform& platform, int fd) {
  CW_FAIL_POINT("server.dump.begin");
  CW_TRY(check_file(fd));
  std::optional<platform::Handover> handover = platform.mailbox().current();
  if (!handover) return fail(EINVAL, "no handover is published");
  RamView view = CW_TRY(view_ram(platform));
  inspect::Findings findings(16);
  inspect::SegmentMemory memory(std::move(view.segments), findings);
  memory.set_ram(view.ram);
  inspect::CoreSummary summary = CW_TRY(inspect::write_core(memory, inspect::core_source(*handover, std::move(view.ram)),
                                                            fd, inspect::CoreContents::kEverything));
  CW_FAIL_POINT("server.dump.end");
  return summary;
}

}  // namespace causeway::server
