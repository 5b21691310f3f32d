#include "luo/registry.h"

#include <algorithm>

#include "base/point.h"

namespace causeway::luo {

Registry::Handlers::iterator Registry::position(const FileHandler& handler) {
  auto it = handlers_.begin();
  while (it != handlers_.end() && (*it)->handler != &handler) ++it;
  return it;
}

Status Registry::add(FileHandler& handler) {
  const std::string_view name(handler.compatible());
  if (name.empty() || name.size() >= abi::kCompatibleLength)
    return fail(EINVAL, "a handler's compatible string is empty or too long");
  CW_FAIL_POINT("luo.handler.register");
  sync::WriteLock lock(lock_);
  for (const auto& known : handlers_)
    if (name == known->handler->compatible()) return fail(EEXIST, "another handler has this compatible string");
  handlers_.push_back(std::make_shared<RegisteredHandler>(handler));
  return {};
}

Status Registry::remove(FileHandler& handler) {
  sync::WriteLock lock(lock_);
  const auto at = position(handler);
  if (at == handlers_.end()) return fail(ENOENT, "the handler is not registered");
  if ((*at)->users.load(std::memory_order_acquire) > 0) return fail(EBUSY, "the handler has files in sessions");
  while (!(*at)->flbs->empty()) {
    FlbList rest = *(*at)->flbs;
    CW_TRY(flb_set_.unlink(*rest.back()->flb));
    rest.pop_back();
    (*at)->flbs = std::make_shared<FlbList>(std::move(rest));
  }
  handlers_.erase(at);
  return {};
}

Status Registry::link(FileHandler& handler, Flb& flb) {
  sync::WriteLock lock(lock_);
  const auto at = position(handler);
  if (at == handlers_.end()) return fail(EINVAL, "an FLB for a handler that is not registered");
  for (const FlbRef& known : *(*at)->flbs)
    if (known->flb == &flb) return fail(EEXIST, "the FLB is linked to this handler already");
  FlbList more = *(*at)->flbs;
  more.push_back(CW_TRY(flb_set_.link(flb)));
  (*at)->flbs = std::make_shared<FlbList>(std::move(more));
  return {};
}

Status Registry::unlink(FileHandler& handler, Flb& flb) {
  sync::WriteLock lock(lock_);
  const auto at = position(handler);
  if (at == handlers_.end()) return fail(ENOENT, "the handler is not registered");
  FlbList rest = *(*at)->flbs;
  const auto link = std::find_if(rest.begin(), rest.end(), [&](const FlbRef& known) { return known->flb == &flb; });
  if (link == rest.end()) return fail(ENOENT, "the FLB is not linked to this handler");
  CW_TRY(flb_set_.unlink(flb));
  rest.erase(link);
  (*at)->flbs = std::make_shared<FlbList>(std::move(rest));
  return {};
}

Result<HandlerUse> Registry::find_for(const file::FileRef& file) const {
  CW_FAIL_POINT("luo.handler.find");
  sync::ReadLock lock(lock_);
  for (const auto& known : handlers_)
    if (known->handler->can_preserve(file)) return HandlerUse(known);
  return fail(ENOENT, "no handler preserves this kind of file");
}

Result<HandlerUse> Registry::find(std::string_view compatible) const {
  sync::ReadLock lock(lock_);
  for (const auto& known : handlers_)
    if (compatible == known->handler->compatible()) return HandlerUse(known);
  return fail(ENOENT, "no handler has this compatible string");
}

std::shared_ptr<const FlbList> Registry::links_of(const HandlerUse& use) const {
  sync::ReadLock lock(lock_);
  return use.target()->flbs;
}

size_t Registry::size() const {
  sync::ReadLock lock(lock_);
  return handlers_.size();
}

}  // namespace causeway::luo
