#include "platform/platform.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <map>

#include "base/log.h"
#include "base/point.h"
#include "platform/control_client.h"
#include "sync/mutex.h"

namespace causeway::platform {

namespace control = hw::control;

namespace {

constexpr uint64_t kMinPhysLimit = GiB(64);

// Room for as much hot-added memory as there is RAM now, and more.
uint64_t choose_limit(uint64_t ram_end) {
  return std::max(kMinPhysLimit, std::bit_ceil(2 * ram_end));
}

// A region as the table describes it, checked before anything is mapped from it.
struct TableEntry {
  uint32_t index;
  uint64_t base;
  uint64_t size;
  uint64_t fd_offset;
  uint32_t fd_id;
  bool hot_added;
};

Result<std::vector<TableEntry>> read_region_table(const Mapping& bus) {
  constexpr uint64_t kPhysEnd = uint64_t{1} << hw::kPhysAddrBits;
  const auto* header = bus.at<hw::BusHeader>(0);
  auto* table = bus.at<hw::RegionEntry>(hw::kRegionTable);
  uint32_t count = header->region_count.load(std::memory_order_acquire);
  if (count > hw::kMaxRegions)
    return fail(EPROTO, "the region table claims more regions than it has room for");
  std::vector<TableEntry> entries;
  for (uint32_t index = 0; index < count; ++index) {
    hw::RegionKind kind = table[index].kind.load(std::memory_order_acquire);
    if (kind == hw::RegionKind::kFree) continue;
    TableEntry entry{index,
                     table[index].base,
                     table[index].size,
                     table[index].fd_offset,
                     table[index].fd_id,
                     kind == hw::RegionKind::kHotAdded};
    if (entry.size == 0 || !is_aligned(entry.base | entry.size | entry.fd_offset, kPageSize) ||
        entry.base >= kPhysEnd || entry.size > kPhysEnd - entry.base)
      return fail(EPROTO, "an entry of the region table makes no sense");
    entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(),
            [](const TableEntry& a, const TableEntry& b) { return a.base < b.base; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].base - entries[i - 1].base < entries[i - 1].size)
      return fail(EPROTO, "two entries of the region table overlap");
  }
  if (entries.empty()) return fail(EPROTO, "the machine has no ram");
  return entries;
}

}  // namespace

struct Platform::State {
  State(UniqueFd socket, UniqueFd bus_descriptor, Mapping bus_mapping, DirectMap direct, uint32_t number)
      : control(std::move(socket)),
        bus_fd(std::move(bus_descriptor)),
        bus(std::move(bus_mapping)),
        direct_map(std::move(direct)),
        generation(number),
        mmio(bus.data(), control.socket()),
        pci(mmio),
        interrupts(bus.at<hw::InterruptMailbox>(hw::kInterruptMailbox)),
        mailbox(bus.at<hw::KexecMailbox>(hw::kMailbox)) {}

  ControlClient control;
  UniqueFd bus_fd;
  Mapping bus;
  DirectMap direct_map;
  const uint32_t generation;
  Mmio mmio;
  PciBus pci;
  Interrupts interrupts;
  Mailbox mailbox;

  struct Region {
    RamRange range;
    std::shared_ptr<UniqueFd> fd;  // runs of boot RAM share one
  };
  mutable sync::Mutex mutex{"platform.regions"};
  std::map<uint64_t, Region> regions CW_GUARDED_BY(mutex);  // by base address
};

Platform::Platform(std::unique_ptr<State> state) : state_(std::move(state)) {}
Platform::~Platform() = default;

Result<std::unique_ptr<Platform>> Platform::attach(UniqueFd control, uint64_t phys_limit) {
  if (!control) return fail(EBADF, "no control socket to attach to");
  CW_FAIL_POINT("platform.attach.before_request");
  // A client of its own until the state exists, which then takes the socket over.
  ControlClient client(std::move(control));
  auto attached = CW_TRY(client.call(control::Op::kAttach));
  struct stat info;
  if (!attached.fd || ::fstat(attached.fd.get(), &info) != 0 ||
      static_cast<uint64_t>(info.st_size) < hw::kBusSize)
    return fail(EPROTO, "the machine's bus is missing or too small");
  Mapping bus = CW_TRY(Mapping::shared(attached.fd.get(), 0, hw::kBusSize));
  const auto* header = bus.at<hw::BusHeader>(0);
  if (header->magic != hw::kBusMagic) return fail(EPROTO, "the bus has no magic");
  if (header->version != hw::kBusVersion) return fail(EPROTO, "the bus has another version, want 1");

  std::vector<TableEntry> entries = CW_TRY(read_region_table(bus));
  uint64_t ram_end = entries.back().base + entries.back().size;
  uint64_t limit = phys_limit != 0 ? align_up(phys_limit, kPageSize) : choose_limit(ram_end);
  DirectMap direct_map = CW_TRY(DirectMap::create(limit));
  CW_FAIL_POINT("platform.attach.before_regions");
  auto state = std::make_unique<State>(client.release(), std::move(attached.fd), std::move(bus),
                                       std::move(direct_map), attached.reply.index);
  sync::MutexLock lock(state->mutex);
  std::map<uint32_t, std::shared_ptr<UniqueFd>> fds;
  for (const TableEntry& entry : entries) {
    auto& fd = fds[entry.fd_id];
    if (fd == nullptr)
      fd = std::make_shared<UniqueFd>(
          std::move(CW_TRY(state->control.call(control::Op::kGetFd, entry.fd_id)).fd));
    if (!*fd) return fail(EPROTO, "the machine sent no descriptor for a region");
    CW_TRY(state->direct_map.map(PhysAddr(entry.base), entry.size, fd->get(), entry.fd_offset));
    RamRange range{PhysAddr(entry.base), entry.size, entry.index,
                   entry.hot_added,      fd->get(),  entry.fd_offset};
    state->regions.emplace(entry.base, State::Region{range, fd});
  }
  log::debug("platform", "attached as generation {}: {} regions of ram up to {:#x}", state->generation,
             entries.size(), ram_end);
  lock.unlock();
  return std::unique_ptr<Platform>(new Platform(std::move(state)));
}

uint32_t Platform::generation() const {
  return state_->generation;
}
const DirectMap& Platform::direct_map() const {
  return state_->direct_map;
}
PciBus& Platform::pci() {
  return state_->pci;
}
Mmio& Platform::mmio() {
  return state_->mmio;
}
Interrupts& Platform::interrupts() {
  return state_->interrupts;
}
Mailbox& Platform::mailbox() {
  return state_->mailbox;
}

std::vector<RamRange> Platform::ram() const {
  sync::MutexLock lock(state_->mutex);
  std::vector<RamRange> ranges;
  ranges.reserve(state_->regions.size());
  for (const auto& [base, region] : state_->regions) ranges.push_back(region.range);
  return ranges;
}

Result<Platform::Backing> Platform::backing(PhysAddr address) const {
  sync::MutexLock lock(state_->mutex);
  auto after = state_->regions.upper_bound(address.value());
  if (after != state_->regions.begin()) {
    const RamRange& range = std::prev(after)->second.range;
    uint64_t offset = address - range.base;
    if (offset < range.size) return Backing{range.fd, range.fd_offset + offset, range.size - offset};
  }
  return fail(EINVAL, "there is no ram at this address");
}

Result<RamRange> Platform::hot_add(int fd, uint64_t size) {
  auto copy = std::make_shared<UniqueFd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!*copy) return fail_with_errno("cannot duplicate the descriptor to hot-add");
  CW_FAIL_POINT("platform.hot_add.before_request");
  auto answer = CW_TRY(state_->control.call(control::Op::kHotAdd, size, 0, fd));
  CW_POINT("platform.hot_add.before_map");
  PhysAddr base(answer.reply.value);
  auto undo = [&](int code, const char* why) {
    if (auto removed = state_->control.call(control::Op::kRemove, answer.reply.index); !removed)
      log::warn("platform", "region {} stays in the machine: {}", answer.reply.index,
                to_string(removed.error()));
    return fail(code, why);
  };
  uint64_t limit = state_->direct_map.limit();
  if (base.value() > limit || size > limit - base.value())
    return undo(E2BIG, "the hot-added memory lies outside the direct map");
  if (Status mapped = state_->direct_map.map(base, size, copy->get(), 0); !mapped)
    return undo(static_cast<int>(mapped.error().code), mapped.error().message);
  RamRange range{base, size, answer.reply.index, true, copy->get(), 0};
  sync::MutexLock lock(state_->mutex);
  state_->regions.emplace(base.value(), State::Region{range, std::move(copy)});
  return range;
}

Status Platform::remove(uint32_t region) {
  sync::MutexLock lock(state_->mutex);
  auto it = std::find_if(state_->regions.begin(), state_->regions.end(),
                         [&](const auto& entry) { return entry.second.range.region == region; });
  if (it == state_->regions.end()) return fail(ENOENT, "no region with this index");
  if (!it->second.range.hot_added) return fail(EBUSY, "boot RAM cannot be removed");
  CW_FAIL_POINT("platform.remove.before_request");
  CW_TRY(state_->control.call(control::Op::kRemove, region));
  CW_POINT("platform.remove.before_unmap");
  RamRange range = it->second.range;
  state_->regions.erase(it);
  return state_->direct_map.unmap(range.base, range.size);
}

Result<std::string> Platform::machine_status() {
  std::string text;
  while (true) {
    auto answer = CW_TRY(state_->control.call(control::Op::kStatus, text.size()));
    std::string_view piece = answer.reply.text;
    text += piece;
    if (piece.empty() || text.size() >= answer.reply.value) return text;
  }
}

Status Platform::inject_fault(control::Fault fault, uint64_t nth) {
  CW_TRY(state_->control.call(control::Op::kInject, static_cast<uint64_t>(fault), nth));
  return {};
}

Status Platform::power_off() {
  CW_TRY(state_->control.call(control::Op::kPowerOff));
  return {};
}

}  // namespace causeway::platform
