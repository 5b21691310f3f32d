#include "cli/observed_machine.h"

#include <algorithm>

#include "hw/bus.h"
#include "inspect/finding.h"

namespace causeway::cli {

Result<ObservedMachine> ObservedMachine::attach(MachineClient& client) {
  ObservedMachine machine;
  UniqueFd bus;
  CW_TRY(client.request(hw::control::Op::kObserve, 0, 0, &bus));
  if (!bus) return fail(EMFILE, "no descriptor came with the machine's answer");
  machine.bus_ = CW_TRY(Mapping::shared_read_only(bus.get(), 0, hw::kBusSize));
  const auto* header = machine.bus_.at<const hw::BusHeader>(0);
  if (header->magic != hw::kBusMagic || header->version != hw::kBusVersion)
    return fail(EPROTO, "the machine's bus is of another version than ours");

  const uint32_t count = std::min(header->region_count.load(std::memory_order_acquire), uint32_t{hw::kMaxRegions});
  const auto* entries = machine.bus_.at<const hw::RegionEntry>(hw::kRegionTable);
  std::vector<inspect::Segment> segments;
  for (uint32_t i = 0; i < count; ++i) {
    const hw::RegionEntry& entry = entries[i];
    if (entry.kind.load(std::memory_order_acquire) == hw::RegionKind::kFree) continue;
    const mm::MemRange range{PhysAddr(entry.base), entry.size};
    UniqueFd& fd = machine.fds_[entry.fd_id];
    if (!fd) {
      auto reply = client.request(hw::control::Op::kGetFd, entry.fd_id, 0, &fd);
      // It may have been taken away since.
      if (!reply && reply.error().code == Errno{ENOENT}) continue;
      if (!reply) return fail(reply.error());
      if (!fd) return fail(EMFILE, "no descriptor came with the machine's answer");
    }
    machine.mappings_.push_back(CW_TRY(Mapping::shared_read_only(fd.get(), entry.fd_offset, range.size)));
    machine.ram_.push_back(range);
    segments.push_back({.base = range.base,
                        .ram_bytes = range.size,
                        .content_bytes = range.size,
                        .data = machine.mappings_.back().data(),
                        .fd = fd.get(),
                        .fd_offset = entry.fd_offset});
  }
  inspect::Findings findings(16);
  machine.memory_ = std::make_unique<inspect::SegmentMemory>(std::move(segments), findings);
  machine.memory_->set_ram(machine.ram_);
  return machine;
}

std::optional<platform::Handover> ObservedMachine::handover(bool* damaged) const {
  // The mapping is for reading; so is what current() does.
  return platform::Mailbox(bus_.at<hw::KexecMailbox>(hw::kMailbox)).current(damaged);
}

}  // namespace causeway::cli
