// The registered file handlers and the FLBs linked to each.
//
//   HandlerUse use = CW_TRY(registry.find_for(file));     // ENOENT: nobody accepts it
//   use->handler->preserve(args);
//
// A handler that is in use by a file cannot be unregistered.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string_view>
#include <utility>

#include "luo/file_handler.h"
#include "luo/flb_set.h"
#include "sync/rw_lock.h"

namespace causeway::luo {

struct RegisteredHandler {
  explicit RegisteredHandler(FileHandler& target) : handler(&target) {}
  FileHandler* handler;
  std::shared_ptr<const FlbList> flbs = std::make_shared<FlbList>();  // replaced, never changed
  std::atomic<uint64_t> users{0};
};

// Keeps a handler registered.
class HandlerUse {
 public:
  HandlerUse() = default;
  explicit HandlerUse(std::shared_ptr<RegisteredHandler> target) : target_(std::move(target)) {
    target_->users.fetch_add(1, std::memory_order_relaxed);
  }
  HandlerUse(HandlerUse&&) noexcept = default;
  HandlerUse& operator=(HandlerUse&&) noexcept = delete;
  ~HandlerUse() {
    if (target_ != nullptr) target_->users.fetch_sub(1, std::memory_order_release);
  }
  FileHandler* operator->() const { return target_->handler; }
  const std::shared_ptr<RegisteredHandler>& target() const { return target_; }

 private:
  std::shared_ptr<RegisteredHandler> target_;
};

class Registry {
 public:
  explicit Registry(FlbSet& flbs) : flb_set_(flbs) {}

  // EINVAL: no usable compatible string; EEXIST: it is another handler's.
  Status add(FileHandler& handler);
  // Drops its FLB links too. ENOENT: not registered; EBUSY: in use, or it is the last link of an FLB in use.
  Status remove(FileHandler& handler);
  // EINVAL: the handler is not registered; EEXIST: linked already; and those of FlbSet::link.
  Status link(FileHandler& handler, Flb& flb);
  // ENOENT: not linked; EBUSY.
  Status unlink(FileHandler& handler, Flb& flb);

  // The first handler that accepts it. ENOENT.
  Result<HandlerUse> find_for(const file::FileRef& file) const;
  Result<HandlerUse> find(std::string_view compatible) const;
  std::shared_ptr<const FlbList> links_of(const HandlerUse& use) const;
  size_t size() const;

 private:
  using Handlers = std::list<std::shared_ptr<RegisteredHandler>>;
  Handlers::iterator position(const FileHandler& handler) CW_REQUIRES(lock_);

  FlbSet& flb_set_;
  mutable sync::RwLock lock_{"luo.registry"};
  Handlers handlers_ CW_GUARDED_BY(lock_);
};

}  // namespace causeway::luo
