// A session: a named container of files that survive a live update together.
//
//   SessionRef vm = CW_TRY(orchestrator.create_session("vm0"));       // old kernel
//   CW_TRY(vm->preserve(0x1a, memfd));
//
//   SessionRef vm = CW_TRY(orchestrator.retrieve_session("vm0"));     // new kernel
//   FileRef memfd = CW_TRY(vm->retrieve(0x1a));
//   CW_TRY(vm->finish());
//   vm->close();                                                      // both: the last descriptor is gone
//
// Every call waits while a live update is under way, and for ever if it succeeds; ENODEV: this kernel has been
// replaced. A handler's callbacks must not make these calls; for them there are token_of() and file_incoming().
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "file/file.h"
#include "luo/abi/luo_v5.h"
#include "luo/file_set.h"
#include "sync/mutex.h"

namespace causeway::luo {

struct Core;
class Session;
using SessionRef = std::shared_ptr<Session>;

class Session : public std::enable_shared_from_this<Session> {
 public:
  enum class Kind : uint8_t { kOutgoing, kIncoming };
  // Use the Orchestrator. The name has been checked.
  Session(std::shared_ptr<Core> core, std::string name, Kind kind);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::string& name() const { return name_; }
  bool is_incoming() const { return kind_ == Kind::kIncoming; }
  uint64_t files() const;

  // -- Outgoing: EINVAL on an incoming one.
  // EEXIST: the token is used, looked at before anything else; ENOSPC, ENOMEM: no room; then the error in `file`
  // (looking the descriptor up must not wait for the session); ENOENT: no handler accepts it; EBUSY: owned
  // by a session already; the errors of its FLBs and its handler. Nothing is left behind by a failure.
  Status preserve(uint64_t token, Result<file::FileRef> file);
  // Undoes it. ENOENT.
  Status unpreserve(uint64_t token);

  // -- Incoming: EINVAL on an outgoing one.
  // The same file each time. ENOENT: no such token, or finished; the error of the first attempt, for ever.
  Result<file::FileRef> retrieve(uint64_t token);
  // Lets all files go, retrieved or not. EBUSY: a handler refuses; nothing has changed. Twice is success.
  Status finish();

  // The last user is gone: unpreserves or finishes everything and takes the session out of its list. If finishing is
  // refused the session is stuck: listed and never retrievable again. Idempotent.
  void close();
  // The retrieval did not reach the client: the session can be retrieved again.
  void cancel_retrieve();

  // -- For handlers, inside a callback for a file of this session (FileArgs::session).
  // The token under which this very open file is preserved here. ENOENT.
  Result<uint64_t> token_of(const file::FileRef& file) const;
  // Retrieves another file of the session. As retrieve(); EDEADLK: its own retrieval needs this one.
  Result<file::FileRef> file_incoming(uint64_t token);

 private:
  friend class Orchestrator;
  friend class SessionSet;

  // EINVAL: retrieved before, or stuck. The gate is passed.
  Status mark_retrieved();
  Status deserialize(const abi::FileSetSer& ser);
  Status freeze(abi::FileSetSer* ser);
  void unfreeze();

  const std::shared_ptr<Core> core_;
  const std::string name_;
  const Kind kind_;
  mutable sync::Mutex mutex_{"luo.session"};
  FileSet files_ CW_GUARDED_BY(mutex_);
  bool retrieved_ CW_GUARDED_BY(mutex_) = false;  // stays after a refused close
  bool closed_ CW_GUARDED_BY(mutex_) = false;
};

}  // namespace causeway::luo
