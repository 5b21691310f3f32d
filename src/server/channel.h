// The kernel's end of a client thread's channel: whose turn it is, and descriptors on the socket (server/wire.h).
//
//   Channel channel = CW_TRY(Channel::accept(std::move(connection)));
//   while (channel.wait()) {                       // until the client has the word; false: it is gone
//     wire::Message& message = channel.received(); // a copy, the client cannot change it any more
//     ...
//     channel.pass(answer);
//   }
#pragma once

#include <cstdint>
#include <memory>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "server/wire.h"

namespace causeway::server {

class Channel {
 public:
  // Answers the client's Hello. EPROTO: it speaks another protocol; ECONNRESET: it left.
  static Result<std::unique_ptr<Channel>> accept(UniqueFd connection);
  ~Channel();

  // Returns when it is our turn, with received() filled; false when the client is gone.
  bool wait();
  const wire::Message& received() const { return received_; }
  // Sends the header, of an answer or of bytes for the client also `message.length` bytes of payload, and gives the turn
  // away.
  void pass(const wire::Message& message);

  // pass() and wait(): the client's answer. ECONNRESET: it is gone.
  Result<int64_t> ask(const wire::Message& question);

  Status send_fd(int fd);
  // The descriptor the client has sent, the last one if it sent several. EBADF: there is none.
  Result<UniqueFd> take_fd();

 private:
  Channel(UniqueFd socket, Mapping memory);
  // One message from the socket; false: the client is gone.
  bool receive_signal(int flags);
  wire::Page& page() { return *memory_.at<wire::Page>(0); }

  UniqueFd socket_;
  Mapping memory_;
  wire::SpinBudget budget_;
  wire::Message received_{};
  UniqueFd descriptor_;  // received, not yet taken
};

}  // namespace causeway::server
