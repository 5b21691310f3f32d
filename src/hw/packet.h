// One message, with at most one file descriptor, over a SOCK_SEQPACKET socket.
//
//   CW_TRY(send_packet(socket, &request, sizeof request, memfd));
//   Packet packet = CW_TRY(receive_packet(socket, &reply, sizeof reply));
//   if (packet.bytes != sizeof reply) return fail(EPROTO, ...);
#pragma once

#include <cstddef>

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::hw {

struct Packet {
  size_t bytes = 0;  // of the message; more than the buffer holds if it was cut off
  UniqueFd fd;       // the first descriptor that came with it; further ones are closed
};

// `fd` < 0: none. `flags` as for sendmsg(); SIGPIPE never comes. Errors: those of sendmsg().
Status send_packet(int socket, const void* data, size_t size, int fd = -1, int flags = 0);

// `flags` as for recvmsg(). Errors: ECONNRESET if the peer has closed, else those of recvmsg().
Result<Packet> receive_packet(int socket, void* buffer, size_t size, int flags = 0);

}  // namespace causeway::hw
