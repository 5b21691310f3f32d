// Live Update Orchestrator: sessions of files that survive the replacement of the kernel.
//
//   auto luo = CW_TRY(Orchestrator::create(kho));          // after kho.init(): what the old kernel left
//   CW_TRY(luo->publish_outgoing());                       // before kho.commit()
//   CW_TRY(luo->register_handler(memfds));                 // before the first deserialize()
//   CW_TRY(luo->deserialize());                            // at each open of /dev/liveupdate
//   SessionRef vm = CW_TRY(luo->create_session("vm0"));
//   ...
//   CW_TRY(luo->serialize());                              // the live update
//   if (!jump()) luo->undo_serialize();
//
// The handover is standing: until serialize() it names no session, and from the last word serialize() writes it
// names all. A kernel that dies in between hands over no session; memory of preserved files stays reserved.
//
// Destroy it when nobody is inside any more or the kernel has been replaced: nothing is given back then,
// and whoever waits in a session goes on with ENODEV. Handlers and FLBs outlive it. Session files may be
// closed after it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kho/kho.h"
#include "luo/file_handler.h"
#include "luo/flb.h"
#include "luo/session.h"

namespace causeway::luo {

struct Options {
  bool enabled = true;  // liveupdate=
};

struct Stats {
  bool enabled = false;
  uint64_t liveupdate_num = 0;       // updates behind this kernel, by the old kernel's count; 0 after a cold boot
  bool deserialized = false;         // tried
  std::string refusal;               // why every open is EIO; empty: it is not
  uint64_t outgoing_sessions = 0;
  uint64_t outgoing_files = 0;
  uint64_t incoming_sessions = 0;    // not closed
  uint64_t incoming_files = 0;       // not finished
  uint64_t owned_files = 0;
  uint64_t handlers = 0;
  uint64_t flbs = 0;
  bool serialized = false;
};

class Orchestrator {
 public:
  // Reads what the old kernel left, whether LUO is enabled or not. A damaged handover is not an error here: it is
  // logged, its memory stays reserved, and deserialize() is EIO. Without KHO, LUO is off.
  static Result<std::unique_ptr<Orchestrator>> create(kho::Kho& kho, Options options = {});
  ~Orchestrator();
  Orchestrator(const Orchestrator&) = delete;
  Orchestrator& operator=(const Orchestrator&) = delete;

  // Makes the outgoing descriptor and FLB page and adds the subtree. Success if LUO is off. ENOMEM and those
  // of add_subtree(): LUO is off now.
  Status publish_outgoing();
  // liveupdate=on, KHO is on, and nothing has failed: the device exists.
  bool is_enabled() const;

  // EOPNOTSUPP: LUO is off. EINVAL: no usable compatible string; EEXIST: it is taken.
  Status register_handler(FileHandler& handler);
  // ENOENT; EBUSY: it has files in sessions, or one of its FLBs is in use.
  Status unregister_handler(FileHandler& handler);
  // Links an FLB to a registered handler. EOPNOTSUPP; EINVAL: the handler is not registered; EEXIST: linked already, or
  // the name is another FLB's; ENOSPC: 63 FLBs.
  Status register_flb(FileHandler& handler, Flb& flb);
  Status unregister_flb(FileHandler& handler, Flb& flb);  // ENOENT, EBUSY

  // Makes the incoming sessions, once. EIO, for ever: the handover is damaged, or names a file type that nobody
  // has registered yet; nothing is undone.
  Status deserialize();

  // EINVAL: the name is empty or longer than 63 bytes; ENOSPC, ENOMEM: no room (looked for first); EEXIST: the name is taken.
  Result<SessionRef> create_session(std::string_view name);
  // ENOENT: no incoming session of that name; EINVAL: retrieved already.
  Result<SessionRef> retrieve_session(std::string_view name);

  // Freezes and hands over every outgoing session. On success every later operation waits, until undo_serialize() or
  // the end of this kernel. A handler's error: all is as before. Success at once if LUO is off.
  Status serialize();
  // The jump failed after all: the handover names no session, everything is unfrozen.
  void undo_serialize();

  // What lives as long as files that depend on it; not inside the FLB's own calls. EOPNOTSUPP: LUO is off; ENOENT: not
  // registered or not preserved.
  Result<std::shared_ptr<void>> get_outgoing(const Flb& flb);
  void put_outgoing(const Flb& flb);
  // ENODATA: nothing was handed over, or it is finished; ENOENT: nothing for this FLB; the error of the first retrieve().
  Result<std::shared_ptr<void>> get_incoming(const Flb& flb);
  void put_incoming(const Flb& flb);

  Stats stats() const;

 private:
  struct State;
  explicit Orchestrator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::luo
