#include "luo/session.h"

#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "luo/core.h"

namespace causeway::luo {
namespace {

constexpr const char* kReplaced = "this kernel has been replaced";

}  // namespace

Session::Session(std::shared_ptr<Core> core, std::string name, Kind kind)
    : core_(std::move(core)), name_(std::move(name)), kind_(kind), files_(*core_, *this) {}
Session::~Session() = default;

uint64_t Session::files() const {
  sync::MutexLock lock(mutex_);
  return files_.size();
}

Status Session::preserve(uint64_t token, Result<file::FileRef> file) {
  if (is_incoming()) return fail(EINVAL, "preserving a file in an incoming session");
  Gate::Pass pass(core_->gate);
  if (!pass) return fail(ENODEV, kReplaced);
  sync::MutexLock lock(mutex_);
  if (closed_) return fail(EINVAL, "the session is closed");
  return files_.preserve(token, file);
}

Status Session::unpreserve(uint64_t token) {
  if (is_incoming()) return fail(EINVAL, "unpreserving a file of an incoming session");
  file::FileRef dropped;  // its release may come back here: after the locks
  Gate::Pass pass(core_->gate);
  if (!pass) return fail(ENODEV, kReplaced);
  sync::MutexLock lock(mutex_);
  dropped = CW_TRY(files_.unpreserve(token));
  return {};
}

Result<file::FileRef> Session::retrieve(uint64_t token) {
  if (!is_incoming()) return fail(EINVAL, "retrieving a file of an outgoing session");
  Gate::Pass pass(core_->gate);
  if (!pass) return fail(ENODEV, kReplaced);
  sync::MutexLock lock(mutex_);
  return files_.retrieve(token);
}

Status Session::finish() {
  if (!is_incoming()) return fail(EINVAL, "finishing an outgoing session");
  std::vector<file::FileRef> dropped;
  Gate::Pass pass(core_->gate);
  if (!pass) return fail(ENODEV, kReplaced);
  sync::MutexLock lock(mutex_);
  CW_TRY(files_.check_finish());
  dropped = files_.finish();
  return {};
}

void Session::close() {
  const SessionRef self = shared_from_this();  // its list may hold the last reference
  std::vector<file::FileRef> dropped;
  Gate::Pass pass(core_->gate);
  if (!pass) return;  // the next kernel has it now
  {
    sync::MutexLock lock(mutex_);
    if (closed_) return;
    if (!is_incoming()) {
      dropped = files_.unpreserve_all();
    } else {
      if (!retrieved_) return;
      if (Status finished = files_.check_finish(); !finished.has_value()) {
        log::warn("luo", "session {} is closed and cannot be finished: {}; it stays until the next boot", name_,
                  finished.error().message);
        return;
      }
      dropped = files_.finish();
    }
    closed_ = true;
  }
  (is_incoming() ? core_->incoming : core_->outgoing).remove(*this);
}

void Session::cancel_retrieve() {
  Gate::Pass pass(core_->gate);
  if (!pass) return;
  sync::MutexLock lock(mutex_);
  if (!closed_) retrieved_ = false;
}

Status Session::mark_retrieved() {
  sync::MutexLock lock(mutex_);
  if (retrieved_ || closed_) return fail(EINVAL, "the session has been retrieved already");
  retrieved_ = true;
  return {};
}

// The mutex is held by the thread that runs the handler's callback.
Result<uint64_t> Session::token_of(const file::FileRef& file) const CW_NO_THREAD_SAFETY_ANALYSIS {
  mutex_.assert_held();
  return files_.token_of(file);
}

Result<file::FileRef> Session::file_incoming(uint64_t token) CW_NO_THREAD_SAFETY_ANALYSIS {
  mutex_.assert_held();
  return files_.retrieve(token);
}

Status Session::deserialize(const abi::FileSetSer& ser) {
  sync::MutexLock lock(mutex_);
  return files_.deserialize(ser);
}

Status Session::freeze(abi::FileSetSer* ser) {
  sync::MutexLock lock(mutex_);
  return files_.freeze(ser);
}

void Session::unfreeze() {
  sync::MutexLock lock(mutex_);
  files_.unfreeze();
}

}  // namespace causeway::luo
