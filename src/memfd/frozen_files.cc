#include "memfd/frozen_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace causeway::memfd {

void FrozenFiles::publish_count() {
  if (!mapping_) return;
  const auto count = static_cast<uint32_t>(files_.size());
  shared()->files.store(retired_ ? file::FrozenFilter::kRetired : count, std::memory_order_release);
}

void FrozenFiles::add(const file::Identity& file) {
  sync::MutexLock lock(mutex_);
  if (++files_[file] != 1 || !mapping_) return;
  shared()->slots[file::FrozenFilter::slot_of(file.device, file.inode)].fetch_add(1, std::memory_order_release);
  publish_count();
}

void FrozenFiles::remove(const file::Identity& file) {
  sync::MutexLock lock(mutex_);
  auto found = files_.find(file);
  if (found == files_.end() || --found->second != 0) return;
  files_.erase(found);
  if (!mapping_) return;
  shared()->slots[file::FrozenFilter::slot_of(file.device, file.inode)].fetch_sub(1, std::memory_order_release);
  publish_count();
}

bool FrozenFiles::contains(const file::Identity& file) const {
  sync::MutexLock lock(mutex_);
  return files_.contains(file);
}

size_t FrozenFiles::size() const {
  sync::MutexLock lock(mutex_);
  return files_.size();
}

Status FrozenFiles::make_filter() {
  UniqueFd fd(::memfd_create("causeway-frozen-files", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(file::kFrozenFilterBytes)) != 0)
    return fail_with_errno("no memory for the filter of frozen files");
  mapping_ = CW_TRY(Mapping::shared(fd.get(), 0, file::kFrozenFilterBytes));
  // Whoever gets a descriptor of it can neither write to it nor take it away.
  ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
  fd_ = std::move(fd);
  for (const auto& [file, count] : files_)
    shared()->slots[file::FrozenFilter::slot_of(file.device, file.inode)].fetch_add(1, std::memory_order_relaxed);
  publish_count();
  return {};
}

Result<UniqueFd> FrozenFiles::filter() {
  sync::MutexLock lock(mutex_);
  if (!mapping_) CW_TRY(make_filter());
  UniqueFd reading(::open(fmt::format("/proc/self/fd/{}", fd_.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!reading) return fail_with_errno("cannot open the filter of frozen files for reading");
  return reading;
}

void FrozenFiles::retire() {
  sync::MutexLock lock(mutex_);
  retired_ = true;
  publish_count();
}

void FrozenFiles::unretire() {
  sync::MutexLock lock(mutex_);
  retired_ = false;
  publish_count();
}

}  // namespace causeway::memfd
