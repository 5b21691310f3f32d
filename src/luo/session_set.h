// The sessions of one direction: by name, and in the order of their creation. That of the outgoing ones has room in
// preserved blocks for each, so that a live update needs no memory.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "kho/block_set.h"
#include "sync/mutex.h"

namespace causeway::luo {

class Session;
using SessionRef = std::shared_ptr<Session>;

class SessionSet {
 public:
  SessionSet() = default;                                                     // incoming: no blocks
  explicit SessionSet(kho::BlockSet blocks) : blocks_(std::move(blocks)) {}  // of abi::SessionSer

  // ENOSPC, ENOMEM: no room in the blocks, looked for first; EEXIST: the name is taken.
  Status insert(const SessionRef& session);
  // Nothing happens if it is not in the set.
  void remove(const Session& session);
  SessionRef find(std::string_view name) const;
  size_t size() const;
  // In order of creation, for looking at them without the set's lock.
  std::list<SessionRef> all() const;

  // Freezes every session, in order, into the blocks; all or nothing. The address for Ser::sessions_pa.
  Result<PhysAddr> freeze();
  // Takes back a freeze() that succeeded.
  void unfreeze();
  // Forgets everything; nothing is given back.
  void abandon();

 private:
  Status freeze_one(Session& session) CW_REQUIRES(mutex_);
  void unfreeze_before(std::list<SessionRef>::iterator end) CW_REQUIRES(mutex_);

  mutable sync::Mutex mutex_{"luo.sessions"};
  std::list<SessionRef> order_ CW_GUARDED_BY(mutex_);
  std::unordered_map<std::string_view, std::list<SessionRef>::iterator> by_name_ CW_GUARDED_BY(mutex_);
  std::optional<kho::BlockSet> blocks_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::luo
