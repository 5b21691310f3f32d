#include "platform/platform.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <map>
#include <unordered_map>

#include "base/log.h"
#include "base/point.h"
#include "platform/control_client.h"
#include "sync/mutex.h"

namespace causeway::platform {

namespace control = hw::control;

namespace {

// Address space costs nothing, but under ThreadSanitizer, which has little of it.
#if defined(__SANITIZE_THREAD__)
constexpr uint64_t kMinPhysLimit = GiB(256);
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr uint64_t kMinPhysLimit = GiB(256);
#else
constexpr uint64_t kMinPhysLimit = GiB(1024);
#endif
#else
constexpr uint64_t kMinPhysLimit = GiB(1024);
#endif

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
  bool writable;
  uint64_t device;
  uint64_t inode;
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
                     kind != hw::RegionKind::kBootRam,
                     kind != hw::RegionKind::kHotAddedReadOnly,
                     table[index].device,
                     table[index].inode};
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
    std::shared_ptr<UniqueFd> fd;  // runs of boot RAM share one; of hot-added memory null until it is needed
    bool mapped = false;
  };
  mutable sync::Mutex mutex{"platform.regions"};
  std::map<uint64_t, Region> regions CW_GUARDED_BY(mutex);            // by base address
  std::unordered_map<uint32_t, uint64_t> bases CW_GUARDED_BY(mutex);  // by index in the region table

  void add(const RamRange& range, std::shared_ptr<UniqueFd> fd, bool mapped) CW_REQUIRES(mutex) {
    bases[range.region] = range.base.value();
    regions.insert_or_assign(range.base.value(), Region{range, std::move(fd), mapped});
  }
  Region* find(uint32_t index) CW_REQUIRES(mutex) {
    auto base = bases.find(index);
    return base == bases.end() ? nullptr : &regions.at(base->second);
  }
  // The number that the machine knows a region's descriptor by.
  uint32_t fd_id(uint32_t index) const { return bus.at<hw::RegionEntry>(hw::kRegionTable)[index].fd_id; }
  Result<UniqueFd> fetch_fd(uint32_t id) {
    UniqueFd fd = std::move(CW_TRY(control.call(control::Op::kGetFd, id)).fd);
    if (!fd) return fail(EMFILE, "no descriptor came with the machine's answer");
    return fd;
  }
  Status map(Region& region) CW_REQUIRES(mutex) {
    if (region.mapped) return {};
    UniqueFd fd = CW_TRY(fetch_fd(fd_id(region.range.region)));
    const RamRange& range = region.range;
    CW_TRY(range.writable ? direct_map.map(range.base, range.size, fd.get(), range.fd_offset)
                          : direct_map.map_read_only(range.base, range.size, fd.get(), range.fd_offset));
    region.mapped = true;
    return {};
  }
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
  if (header->version != hw::kBusVersion) return fail(EPROTO, "the bus has another version, want 3");

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
    RamRange range{PhysAddr(entry.base), entry.size,      entry.index,  entry.hot_added, entry.writable, -1,
                   entry.fd_offset,      entry.device, entry.inode};
    if (entry.hot_added) {
      if (range.base.value() > limit || range.size > limit - range.base.value())
        return fail(EINVAL, "a range lies beyond the limit of the direct map");
      state->add(range, nullptr, false);
      continue;
    }
    auto& fd = fds[entry.fd_id];
    if (fd == nullptr)
      fd = std::make_shared<UniqueFd>(
          std::move(CW_TRY(state->control.call(control::Op::kGetFd, entry.fd_id)).fd));
    if (!*fd) return fail(EPROTO, "the machine sent no descriptor for a region");
    CW_TRY(state->direct_map.map(PhysAddr(entry.base), entry.size, fd->get(), entry.fd_offset));
    range.fd = fd->get();
    state->add(range, fd, true);
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

std::span<const std::byte> Platform::firmware_table() const {
  return {state_->bus.data() + hw::kFirmwareTable, kPageSize};
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
    State::Region& region = std::prev(after)->second;
    const RamRange& range = region.range;
    uint64_t offset = address - range.base;
    if (offset < range.size) {
      // Kept once asked for: the answer is a number, and stays valid.
      if (region.fd == nullptr)
        region.fd = std::make_shared<UniqueFd>(CW_TRY(state_->fetch_fd(state_->fd_id(range.region))));
      return Backing{region.fd->get(), range.fd_offset + offset, range.size - offset};
    }
  }
  return fail(EINVAL, "there is no ram at this address");
}

Result<RamRange> Platform::hot_add(int fd, uint64_t size, MapNow map) {
  if (::fcntl(fd, F_GETFD) < 0) return fail_with_errno("no descriptor to hot-add");
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
  const auto& entry = state_->bus.at<hw::RegionEntry>(hw::kRegionTable)[answer.reply.index];
  const bool writable = entry.kind.load(std::memory_order_acquire) != hw::RegionKind::kHotAddedReadOnly;
  RamRange range{base, size, answer.reply.index, true, writable, -1, 0, entry.device, entry.inode};
  sync::MutexLock lock(state_->mutex);
  state_->add(range, nullptr, false);
  if (map == MapNow::kNo) return range;
  Status mapped = state_->map(*state_->find(range.region));
  if (mapped) return range;
  state_->regions.erase(base.value());
  state_->bases.erase(range.region);
  lock.unlock();
  return undo(static_cast<int>(mapped.error().code), mapped.error().message);
}

Status Platform::map(uint32_t index) {
  sync::MutexLock lock(state_->mutex);
  State::Region* region = state_->find(index);
  if (region == nullptr) return fail(ENOENT, "no region with this index");
  return state_->map(*region);
}

Result<UniqueFd> Platform::region_fd(uint32_t index) const {
  uint32_t id = 0;
  {
    sync::MutexLock lock(state_->mutex);
    if (state_->find(index) == nullptr) return fail(ENOENT, "no region with this index");
    id = state_->fd_id(index);
  }
  return state_->fetch_fd(id);
}

Status Platform::remove(uint32_t region) {
  return remove_each({&region, 1}).front();
}

std::vector<Status> Platform::remove_each(std::span<const uint32_t> regions) {
  std::vector<Status> results(regions.size());
  std::vector<uint32_t> asked;
  std::vector<size_t> places;  // in results
  auto check = [&](uint32_t region) -> Status {
    const State::Region* found = state_->find(region);
    if (found == nullptr) return fail(ENOENT, "no region with this index");
    if (!found->range.hot_added) return fail(EBUSY, "boot RAM cannot be removed");
    CW_FAIL_POINT("platform.remove.before_request");
    return {};
  };
  sync::MutexLock lock(state_->mutex);
  for (size_t i = 0; i < regions.size(); ++i) {
    if (results[i] = check(regions[i]); !results[i]) continue;
    asked.push_back(regions[i]);
    places.push_back(i);
  }
  const std::vector<Status> answers = state_->control.call_each(control::Op::kRemove, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    results[places[i]] = answers[i];
    if (!answers[i]) continue;
    CW_POINT("platform.remove.before_unmap");
    const State::Region* found = state_->find(asked[i]);
    if (found == nullptr) continue;  // named twice
    const RamRange range = found->range;
    const bool mapped = found->mapped;
    state_->regions.erase(range.base.value());
    state_->bases.erase(asked[i]);
    if (mapped) results[places[i]] = state_->direct_map.unmap(range.base, range.size);
  }
  return results;
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
