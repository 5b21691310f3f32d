#include "luo/session_set.h"

#include <cstring>

#include "base/point.h"
#include "luo/abi/luo_v5.h"
#include "luo/session.h"

namespace causeway::luo {

Status SessionSet::insert(const SessionRef& session) {
  sync::MutexLock lock(mutex_);
  if (blocks_.has_value()) CW_TRY(blocks_->grow(order_.size() + 1));
  if (by_name_.contains(session->name())) {
    if (blocks_.has_value()) blocks_->shrink(order_.size());
    return fail(EEXIST, "a session of this name exists");
  }
  order_.push_back(session);
  by_name_.emplace(session->name(), std::prev(order_.end()));
  return {};
}

void SessionSet::remove(const Session& session) {
  SessionRef removed;  // let go without the lock
  sync::MutexLock lock(mutex_);
  const auto found = by_name_.find(session.name());
  if (found == by_name_.end() || found->second->get() != &session) return;
  removed = std::move(*found->second);
  order_.erase(found->second);
  by_name_.erase(found);
  if (blocks_.has_value()) blocks_->shrink(order_.size());
}

SessionRef SessionSet::find(std::string_view name) const {
  sync::MutexLock lock(mutex_);
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : *found->second;
}

size_t SessionSet::size() const {
  sync::MutexLock lock(mutex_);
  return order_.size();
}

std::list<SessionRef> SessionSet::all() const {
  sync::MutexLock lock(mutex_);
  return order_;
}

Status SessionSet::freeze_one(Session& session) {
  CW_FAIL_POINT("luo.serialize.session");
  auto* entry = blocks_->reserve<abi::SessionSer>();
  if (entry == nullptr) return fail(ENOSPC, "no room was kept for the session");
  abi::FileSetSer files = {};
  CW_TRY(session.freeze(&files));
  std::memcpy(entry->name, session.name().data(), session.name().size());
  entry->file_set = files;
  return {};
}

Result<PhysAddr> SessionSet::freeze() {
  sync::MutexLock lock(mutex_);
  blocks_->clear();
  for (auto it = order_.begin(); it != order_.end(); ++it) {
    if (Status frozen = freeze_one(**it); !frozen.has_value()) {
      unfreeze_before(it);
      return fail(frozen.error());
    }
    CW_POINT("luo.serialize.after_session");
  }
  return blocks_->head();
}

void SessionSet::unfreeze_before(std::list<SessionRef>::iterator end) {
  while (end != order_.begin()) (*--end)->unfreeze();
  blocks_->clear();
}

void SessionSet::unfreeze() {
  sync::MutexLock lock(mutex_);
  unfreeze_before(order_.end());
}

void SessionSet::abandon() {
  std::list<SessionRef> all;
  sync::MutexLock lock(mutex_);
  all.swap(order_);
  by_name_.clear();
}

}  // namespace causeway::luo
