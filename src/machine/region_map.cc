#include "machine/region_map.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"
#include "base/point.h"

namespace causeway::machine {

struct RegionMap::Backing {
  UniqueFd fd;
  uint32_t id;
};

struct RegionMap::Region {
  hw::RegionKind kind;
  PhysAddr base;
  uint64_t size;
  uint64_t fd_offset;
  std::shared_ptr<Backing> backing;
  Mapping mapping;
  uint64_t device = 0;
  uint64_t inode = 0;
};

namespace {

constexpr uint64_t kPhysEnd = uint64_t{1} << hw::kPhysAddrBits;

// What the descriptor is for: read-only if it is open so.
Result<bool> check_file(int fd, uint64_t size, struct stat& info) {
  if (::fstat(fd, &info) != 0) return fail_with_errno("cannot look at the descriptor to hot-add");
  if (!S_ISREG(info.st_mode)) return fail(EINVAL, "only a memfd or a regular file can be hot-added");
  if (static_cast<uint64_t>(info.st_size) < size - kPageSize + 1)
    return fail(EINVAL, "the file to hot-add is shorter than the size given");
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH) != 0)
    return fail(EINVAL, "the file to hot-add is not open for reading");
  return (flags & O_ACCMODE) == O_RDWR;
}

}  // namespace

RegionMap::RegionMap(const BusMemory& bus) : bus_(bus), snapshot_(new Snapshot) {}

RegionMap::~RegionMap() {
  delete snapshot_.load();
}

Status RegionMap::add_boot_ram(uint64_t size) {
  if (size == 0 || !is_aligned(size, hw::kRamGranularity))
    return fail(EINVAL, "the size of boot RAM is not a positive multiple of 8 MiB");
  uint64_t low = hw::low_ram_size(size);
  if (size > kPhysEnd || size - low > kPhysEnd - hw::kHighRamBase.value())
    return fail(EINVAL, "boot RAM does not fit into 46 address bits");

  std::lock_guard lock(mutex_);
  UniqueFd fd = CW_TRY(create_sealed_memfd("causeway-ram", size));
  auto low_mapping = CW_TRY(Mapping::shared(fd.get(), 0, low));
  auto high_mapping = CW_TRY(Mapping::shared(fd.get(), low, size - low));
  auto backing = std::make_shared<Backing>(Backing{std::move(fd), next_fd_id_++});
  insert_locked(0, std::make_unique<Region>(Region{hw::RegionKind::kBootRam, PhysAddr{0}, low, 0, backing,
                                                   std::move(low_mapping)}));
  insert_locked(1, std::make_unique<Region>(Region{hw::RegionKind::kBootRam, hw::kHighRamBase, size - low,
                                                   low, backing, std::move(high_mapping)}));
  bus_.header().ram_regions_at_boot = 2;
  return {};
}

Result<RegionMap::Placement> RegionMap::hot_add(UniqueFd fd, uint64_t size) {
  if (size == 0 || !is_aligned(size, kPageSize) || size > kPhysEnd)
    return fail(EINVAL, "the size to hot-add is not a positive number of pages");
  struct stat info;
  bool writable = CW_TRY(check_file(fd.get(), size, info));
  CW_FAIL_POINT("machine.hot_add.map");
  Mapping mapping;
  if (writable) {
    auto shared = Mapping::shared(fd.get(), 0, size);
    // Sealed against writing.
    writable = shared.has_value() || shared.error().code != Errno{EPERM};
    if (writable) mapping = CW_TRY(std::move(shared));
  }
  if (!writable) mapping = CW_TRY(Mapping::shared_read_only(fd.get(), 0, size));

  std::lock_guard lock(mutex_);
  uint32_t index = CW_TRY(free_slot_locked());
  PhysAddr base = CW_TRY(find_hole_locked(size));
  auto backing = std::make_shared<Backing>(Backing{std::move(fd), next_fd_id_++});
  CW_POINT("machine.hot_add.before_publish");
  const hw::RegionKind kind = writable ? hw::RegionKind::kHotAdded : hw::RegionKind::kHotAddedReadOnly;
  insert_locked(index, std::make_unique<Region>(Region{kind, base, size, 0, std::move(backing),
                                                       std::move(mapping), info.st_dev, info.st_ino}));
  return Placement{index, base};
}

Status RegionMap::remove(uint32_t index) {
  std::lock_guard lock(mutex_);
  if (index >= regions_.size() || regions_[index] == nullptr)
    return fail(ENOENT, "no region with this index");
  if (regions_[index]->kind == hw::RegionKind::kBootRam) return fail(EBUSY, "boot RAM cannot be removed");
  std::unique_ptr<Region> region = std::move(regions_[index]);
  first_free_ = std::min(first_free_, index);
  backings_.erase(region->backing->id);  // of a hot-added region alone
  bus_.region(index).kind.store(hw::RegionKind::kFree, std::memory_order_release);
  auto next = std::make_unique<Snapshot>(*snapshot_.load());
  std::erase_if(*next, [&](const Entry& entry) { return entry.base == region->base.value(); });
  CW_POINT("machine.remove.before_drain");
  publish_locked(std::move(next));
  return {};
}

void RegionMap::add_device_memory(PhysAddr base, std::byte* data, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  insert_entry_locked({base.value(), bytes, data, true});
}

void RegionMap::remove_device_memory(PhysAddr base) {
  std::lock_guard lock(mutex_);
  auto next = std::make_unique<Snapshot>(*snapshot_.load());
  std::erase_if(*next, [&](const Entry& entry) { return entry.base == base.value(); });
  publish_locked(std::move(next));
}

Result<UniqueFd> RegionMap::duplicate_fd(uint32_t fd_id) const {
  std::lock_guard lock(mutex_);
  auto found = backings_.find(fd_id);
  if (found == backings_.end()) return fail(ENOENT, "no region has this fd_id");
  UniqueFd copy(::fcntl(found->second->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail_with_errno("cannot duplicate a region's descriptor");
  return copy;
}

RegionMap::Totals RegionMap::totals() const {
  std::lock_guard lock(mutex_);
  Totals totals;
  for (const auto& region : regions_) {
    if (region == nullptr) continue;
    ++totals.regions;
    totals.bytes += region->size;
  }
  return totals;
}

void RegionMap::register_gate(Gate& gate) {
  std::lock_guard lock(mutex_);
  gates_.push_back(&gate);
}

void RegionMap::unregister_gate(Gate& gate) {
  std::lock_guard lock(mutex_);
  std::erase(gates_, &gate);
}

RegionMap::Run RegionMap::find(PhysAddr address) const {
  const Snapshot& snapshot = *snapshot_.load(std::memory_order_seq_cst);
  auto after = std::upper_bound(snapshot.begin(), snapshot.end(), address.value(),
                                [](uint64_t wanted, const Entry& entry) { return wanted < entry.base; });
  if (after == snapshot.begin()) return {};
  const Entry& entry = *std::prev(after);
  uint64_t offset = address.value() - entry.base;
  if (offset >= entry.size) return {};
  return {entry.data + offset, entry.size - offset, entry.writable};
}

Result<uint32_t> RegionMap::free_slot_locked() {
  for (; first_free_ < regions_.size(); ++first_free_) {
    if (regions_[first_free_] == nullptr) return first_free_;
  }
  if (regions_.size() == hw::kMaxRegions) return fail(ENOSPC, "the region table is full");
  return static_cast<uint32_t>(regions_.size());
}

// The lowest hole above boot RAM: addresses of regions that have gone are used again, so that a machine
// that runs for years does not run out of them.
Result<PhysAddr> RegionMap::find_hole_locked(uint64_t size) const {
  uint64_t candidate = 0;
  for (const Entry& entry : *snapshot_.load()) {
    uint64_t end = entry.base + entry.size;
    bool hot_added = entry.base > hw::kHighRamBase.value();
    if (hot_added && candidate <= entry.base && size <= entry.base - candidate) break;
    candidate = align_up(end, hw::kHotAddAlignment);
  }
  candidate = std::max(candidate, hw::kHighRamBase.value());
  if (candidate > kPhysEnd || size > kPhysEnd - candidate)
    return fail(E2BIG, "no run of physical addresses is long enough for the region");
  return PhysAddr(candidate);
}

void RegionMap::insert_locked(uint32_t index, std::unique_ptr<Region> region) {
  hw::RegionEntry& entry = bus_.region(index);
  entry.base = region->base.value();
  entry.size = region->size;
  entry.fd_offset = region->fd_offset;
  entry.fd_id = region->backing->id;
  entry.device = region->device;
  entry.inode = region->inode;
  hw::RegionKind kind = region->kind;
  Entry added{region->base.value(), region->size, region->mapping.data(),
              kind != hw::RegionKind::kHotAddedReadOnly};
  if (index >= regions_.size()) regions_.resize(index + 1);
  backings_.insert_or_assign(region->backing->id, region->backing);
  regions_[index] = std::move(region);
  insert_entry_locked(added);
  // Whoever sees the kind sees the rest of the entry, and a DMA to it already works.
  entry.kind.store(kind, std::memory_order_release);
  bus_.header().region_count.store(static_cast<uint32_t>(regions_.size()), std::memory_order_release);
}

// One copy and one insertion, so that thousands of client files cost no more than they must.
void RegionMap::insert_entry_locked(const Entry& added) {
  auto next = std::make_unique<Snapshot>(*snapshot_.load());
  next->insert(std::lower_bound(next->begin(), next->end(), added,
                                [](const Entry& a, const Entry& b) { return a.base < b.base; }),
               added);
  publish_locked(std::move(next));
}

void RegionMap::drain() const {
  std::lock_guard lock(mutex_);
  for (const Gate* gate : gates_) gate->drain();
}

void RegionMap::publish_locked(std::unique_ptr<const Snapshot> next) {
  std::unique_ptr<const Snapshot> old(snapshot_.exchange(next.release(), std::memory_order_seq_cst));
  for (const Gate* gate : gates_) gate->drain();
}

}  // namespace causeway::machine
