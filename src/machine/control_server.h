// The machine's control sockets: one thread that answers the messages of hw/control.h.
//
//   ControlServer control(target);
//   CW_TRY(control.start());
//   UniqueFd socket = control.connect();       // a client in this process
//   CW_TRY(control.listen("causeway-1000"));   // clients in others, of the same user
//
// A peer may send anything, die at any time, or not read its replies: that ends its connection at most.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "hw/control.h"
#include "machine/complaints.h"
#include "machine/fault_injector.h"
#include "machine/region_map.h"

namespace causeway::machine {

class ControlServer {
 public:
  // What the messages act on. Called on the control thread.
  class Target {
   public:
    virtual ~Target() = default;
    virtual uint32_t attach() = 0;  // the new generation's number
    virtual int bus_fd() const = 0;
    virtual RegionMap& regions() = 0;
    virtual FaultInjector& faults() = 0;
    virtual std::string status() const = 0;
    virtual void power_off() = 0;
  };
  explicit ControlServer(Target& target) : target_(target) {}
  ~ControlServer();

  Status start();
  // The thread ends soon and closes every connection; may be called on it.
  void request_stop();
  // request_stop(), and waits. Not on the control thread.
  void stop();

  // One end of a new connection; empty if there are no descriptors left or the server has stopped.
  UniqueFd connect();
  // Errors: EINVAL (name empty or longer than 107 bytes), EADDRINUSE.
  Status listen(std::string_view abstract_name);

 private:
  struct Connection {
    UniqueFd socket;
    std::string status;  // the text a kStatus reads piece by piece
  };
  void run();
  void accept_from(int listener);
  // One message. False: the connection is over.
  bool serve(Connection& connection);
  // The answer; `fd_to_send` stays open until it has been sent.
  Status answer(Connection& connection, const hw::control::Request& request, UniqueFd received,
                hw::control::Reply& reply, UniqueFd& fd_to_send);
  void wake();

  Target& target_;
  UniqueFd wake_;  // eventfd
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::vector<Connection> connections_;  // the thread's alone
  Complaints complaints_;                // the thread's alone

  std::mutex mutex_;
  std::vector<UniqueFd> incoming_;  // made by connect(), not yet seen by the thread
  std::vector<UniqueFd> listeners_;
};

}  // namespace causeway::machine
