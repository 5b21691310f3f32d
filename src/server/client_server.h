// Serves client programs: their channels, their open files, the devices they open (server/wire.h).
//
//   auto clients = CW_TRY(ClientServer::start(listener.get(), devices, socket_name + "/"));
//   ...                                // one thread per client thread from here on
//   clients.reset();                   // every channel and file ends
//
// A client may send anything, die at any time or stop in the middle of a call: that ends its channel at most.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "memfd/frozen_files.h"
#include "server/open_files.h"
#include "sync/cond_var.h"
#include "sync/mutex.h"
#include "sync/thread.h"
#include "uapi/devices.h"

namespace causeway::server {

class ClientServer {
 public:
  // `listener`: a listening SOCK_SEQPACKET socket, not owned. `frozen`: the files that clients are not to resize; null: none.
  static Result<std::unique_ptr<ClientServer>> start(int listener, uapi::Devices& devices, std::string file_prefix,
                                                     memfd::FrozenFiles* frozen = nullptr);
  ~ClientServer();

  size_t open_files() const { return files_->count(); }
  size_t channels() const;
  uint64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  struct Client;
  class CallInProgress;
  ClientServer(int listener, uapi::Devices& devices, memfd::FrozenFiles* frozen, std::unique_ptr<OpenFiles> files,
               UniqueFd stop);
  void accept_loop(const sync::StopToken& stop);
  void collect_finished();
  void serve(Client& client, UniqueFd connection);
  // Until no call that came before `call` is still being carried out for a client that has died.
  void wait_for_calls_of_the_dead(uint64_t call);

  const int listener_;
  uapi::Devices& devices_;
  memfd::FrozenFiles* const frozen_;
  std::unique_ptr<OpenFiles> files_;
  UniqueFd stop_;  // eventfd
  std::atomic<uint64_t> calls_{0};
  std::atomic<int> waiting_{0};  // in wait_for_calls_of_the_dead()
  mutable sync::Mutex mutex_{"server.clients"};
  std::list<std::unique_ptr<Client>> clients_ CW_GUARDED_BY(mutex_);
  sync::CondVar call_ended_;
  sync::Thread acceptor_;
};

}  // namespace causeway::server
