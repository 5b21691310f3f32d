#include "memfd/client_memory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "sync/mutex.h"

namespace causeway::memfd {

namespace {

// Regions that are removed in one go, while others wait for the lock.
constexpr size_t kBatch = 16;

PfnRange frames_of(const platform::RamRange& range) {
  return {Pfn::containing(range.base), Pfn::containing(range.base + range.size)};
}

UniqueFd reopen(int fd, int flags) {
  return UniqueFd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), flags | O_CLOEXEC));
}

// A descriptor that shows the machine what it may do with the file. Empty: the one given does.
Result<UniqueFd> descriptor_for_machine(const file::NativeFile& file) {
  const int flags = ::fcntl(file.fd(), F_GETFL);
  const int seals = ::fcntl(file.fd(), F_GET_SEALS);
  const bool sealed = seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0;
  if (!sealed) {
    if ((flags & O_ACCMODE) == O_RDWR) return UniqueFd();
    // A client's descriptor limits the client; devices write to the memory as those of its other descriptors do.
    if (UniqueFd both = reopen(file.fd(), O_RDWR)) return both;
  }
  if ((flags & O_ACCMODE) == O_RDONLY) return UniqueFd();
  UniqueFd reading = reopen(file.fd(), O_RDONLY);
  if (!reading) return fail_with_errno("a client's file cannot be opened for reading");
  return reading;
}

}  // namespace

struct Adopted::Shared : std::enable_shared_from_this<Adopted::Shared> {
  Shared(platform::Platform& p, mm::PageAllocator& a, kho::Kho& k) : platform(p), allocator(a), kho(k) {}

  struct Region {
    platform::RamRange range;
    bool inherited = false;       // of an earlier kernel
    uint64_t users = 0;           // Adopteds; one that is being destroyed counts until it has the lock
    std::weak_ptr<Adopted> live;  // shared by all who adopt
  };

  Result<platform::RamRange> hot_add(const file::NativeFile& file, uint64_t size);
  std::shared_ptr<Adopted> use(Region& region) CW_REQUIRES(mutex);
  void release(PhysAddr base);
  void let_go(PhysAddr base);
  void end_deferral();
  // Those that can go. Returns how many.
  uint64_t drop(const std::vector<PhysAddr>& bases) CW_REQUIRES(mutex);
  bool may_go(PhysAddr base) CW_REQUIRES(mutex);

  platform::Platform& platform;
  mm::PageAllocator& allocator;
  kho::Kho& kho;
  sync::Mutex mutex{"memfd.client_memory"};
  bool abandoned CW_GUARDED_BY(mutex) = false;
  uint64_t deferrals CW_GUARDED_BY(mutex) = 0;
  std::vector<PhysAddr> deferred CW_GUARDED_BY(mutex);  // base addresses of what may have to go
  std::map<uint64_t, Region> regions CW_GUARDED_BY(mutex);  // by base address
  // The largest region of each file: a file that has grown since it was adopted gets a second one.
  std::map<file::Identity, uint64_t> by_file CW_GUARDED_BY(mutex);
};

Result<platform::RamRange> Adopted::Shared::hot_add(const file::NativeFile& file, uint64_t size) {
  UniqueFd other = CW_TRY(descriptor_for_machine(file));
  CW_FAIL_POINT("memfd.adopt.before_hot_add");
  auto added = platform.hot_add(other ? other.get() : file.fd(), size, platform::MapNow::kNo);
  if (!added) {
    const Errno code = added.error().code;
    if (code == Errno{E2BIG} || code == Errno{ENOSPC})
      return fail(ENOMEM, "no physical addresses or regions are left for a client's file");
    return added;
  }
  CW_POINT("memfd.adopt.after_hot_add");
  if (Status known = allocator.hot_add(frames_of(*added), mm::HotMemory::kReserved); !known) {
    if (Status removed = platform.remove(added->region); !removed)
      log::warn("memfd", "region at {} stays in the machine: {}", added->base, to_string(removed.error()));
    return fail(known.error());
  }
  return added;
}

std::shared_ptr<Adopted> Adopted::Shared::use(Region& region) {
  std::shared_ptr<Adopted> adopted = region.live.lock();
  if (adopted == nullptr) {
    adopted.reset(new Adopted(shared_from_this(), region.range));
    region.live = adopted;
    ++region.users;
  }
  return adopted;
}

void Adopted::Shared::release(PhysAddr base) {
  bool inherited = false;
  {
    sync::MutexLock lock(mutex);
    auto at = regions.find(base.value());
    if (abandoned || at == regions.end() || --at->second.users != 0) return;
    inherited = at->second.inherited;
  }
  if (!inherited) return let_go(base);
  // The old handover may name its frames as long as it counts.
  kho.after_commit([weak = weak_from_this(), base] {
    if (auto shared = weak.lock()) shared->let_go(base);
  });
}

void Adopted::Shared::let_go(PhysAddr base) {
  sync::MutexLock lock(mutex);
  if (deferrals != 0) {
    deferred.push_back(base);
  } else {
    drop({base});
  }
}

void Adopted::Shared::end_deferral() {
  sync::MutexLock lock(mutex);
  if (--deferrals != 0) return;
  while (!deferred.empty()) {
    const auto begin = deferred.end() - static_cast<ptrdiff_t>(std::min(deferred.size(), kBatch));
    const std::vector<PhysAddr> batch(begin, deferred.end());
    deferred.erase(begin, deferred.end());
    drop(batch);
    // Whoever waits for the lock goes first.
    lock.unlock();
    lock.lock();
  }
}

bool Adopted::Shared::may_go(PhysAddr base) {
  auto at = regions.find(base.value());
  if (abandoned || at == regions.end() || at->second.users != 0) return false;
  const PfnRange frames = frames_of(at->second.range);
  // Somebody may still come and retrieve it; if not, the next kernel drops it.
  if (at->second.inherited && kho.has_unrestored(frames)) return false;
  // A handover that names memory the machine does not have is refused whole.
  if (kho.is_preserved(frames)) {
    log::warn("memfd", "client memory at {} stays: it is preserved, and nobody uses it", base);
    return false;
  }
  if (Status gone = allocator.hot_remove(frames, mm::HotMemory::kReserved); !gone) {
    log::warn("memfd", "client memory at {} stays: {}", base, to_string(gone.error()));
    return false;
  }
  return true;
}

uint64_t Adopted::Shared::drop(const std::vector<PhysAddr>& bases) {
  std::vector<uint32_t> indices;
  for (PhysAddr base : bases) {
    if (!may_go(base)) continue;
    auto at = regions.find(base.value());
    const platform::RamRange range = at->second.range;
    const auto file = by_file.find({range.device, range.inode});
    if (file != by_file.end() && file->second == base.value()) by_file.erase(file);
    regions.erase(at);
    indices.push_back(range.region);
  }
  if (indices.empty()) return 0;
  CW_POINT("memfd.remove.before_machine");
  const std::vector<Status> removed = platform.remove_each(indices);
  // Still there for the machine alone: the next kernel finds it unused and tries again.
  for (size_t i = 0; i < indices.size(); ++i)
    if (!removed[i]) log::warn("memfd", "region {} stays in the machine: {}", indices[i], to_string(removed[i].error()));
  return indices.size();
}

Adopted::~Adopted() {
  shared_->release(range_.base);
}

Result<UniqueFd> Adopted::descriptor() const {
  sync::MutexLock lock(shared_->mutex);
  if (shared_->abandoned) return fail(ENODEV, "this kernel has ended");
  return shared_->platform.region_fd(range_.region);
}

Status Adopted::map() {
  sync::MutexLock lock(shared_->mutex);
  if (shared_->abandoned) return fail(ENODEV, "this kernel has ended");
  return shared_->platform.map(range_.region);
}

ClientMemory::ClientMemory(platform::Platform& platform, mm::PageAllocator& allocator, kho::Kho& kho)
    : shared_(std::make_shared<Adopted::Shared>(platform, allocator, kho)) {
  sync::MutexLock lock(shared_->mutex);
  for (const platform::RamRange& range : platform.ram()) {
    if (!range.hot_added) continue;
    shared_->regions[range.base.value()] = {.range = range, .inherited = true};
    uint64_t& base = shared_->by_file.try_emplace({range.device, range.inode}, range.base.value()).first->second;
    if (shared_->regions[base].range.size < range.size) base = range.base.value();
  }
}

ClientMemory::~ClientMemory() {
  abandon();
}

std::shared_ptr<void> ClientMemory::defer_removals() {
  sync::MutexLock lock(shared_->mutex);
  ++shared_->deferrals;
  return std::shared_ptr<void>(nullptr, [shared = shared_](void*) { shared->end_deferral(); });
}

Result<std::shared_ptr<Adopted>> ClientMemory::adopt(const file::NativeFile& file) {
  if (!file.is_memory()) return fail(EINVAL, "only anonymous shared memory can be adopted");
  const uint64_t bytes = CW_TRY(file.size());
  if (bytes == 0) return fail(EINVAL, "an empty file has no memory to adopt");
  const uint64_t size = align_up(bytes, kPageSize);
  Adopted::Shared& s = *shared_;
  sync::MutexLock lock(s.mutex);
  if (s.abandoned) return fail(ENODEV, "this kernel has ended");
  if (auto known = s.by_file.find(file.identity()); known != s.by_file.end()) {
    Adopted::Shared::Region& region = s.regions.at(known->second);
    if (region.range.size >= size) return s.use(region);
  }
  const platform::RamRange range = CW_TRY(s.hot_add(file, size));
  Adopted::Shared::Region& region = s.regions[range.base.value()];
  region = {.range = range};
  s.by_file[file.identity()] = range.base.value();
  return s.use(region);
}

std::shared_ptr<Adopted> ClientMemory::find(PhysAddr address) {
  Adopted::Shared& s = *shared_;
  sync::MutexLock lock(s.mutex);
  auto after = s.regions.upper_bound(address.value());
  if (s.abandoned || after == s.regions.begin()) return nullptr;
  Adopted::Shared::Region& region = std::prev(after)->second;
  if (address - region.range.base >= region.range.size) return nullptr;
  return s.use(region);
}

uint64_t ClientMemory::drop_unused() {
  std::vector<PhysAddr> candidates;
  {
    sync::MutexLock lock(shared_->mutex);
    for (const auto& [base, region] : shared_->regions)
      if (region.inherited && region.users == 0) candidates.push_back(PhysAddr(base));
  }
  uint64_t dropped = 0;
  for (size_t i = 0; i < candidates.size(); i += kBatch) {
    CW_POINT("memfd.drop_unused.before_one");
    const auto begin = candidates.begin() + static_cast<ptrdiff_t>(i);
    sync::MutexLock lock(shared_->mutex);
    dropped += shared_->drop({begin, begin + static_cast<ptrdiff_t>(std::min(kBatch, candidates.size() - i))});
  }
  if (dropped != 0) log::info("memfd", "{} regions of client memory that nobody preserved are dropped", dropped);
  return dropped;
}

uint64_t ClientMemory::regions() const {
  sync::MutexLock lock(shared_->mutex);
  return shared_->regions.size();
}

void ClientMemory::abandon() {
  sync::MutexLock lock(shared_->mutex);
  shared_->abandoned = true;
}

}  // namespace causeway::memfd
