#include "cli/machine_client.h"

#include <poll.h>
#include <sys/socket.h>

#include "hw/packet.h"
#include "server/control.h"

namespace causeway::cli {
namespace {

constexpr int kTimeoutMs = 10000;

Status wait_readable(int socket) {
  pollfd poll{socket, POLLIN, 0};
  int ready = ::poll(&poll, 1, kTimeoutMs);
  if (ready < 0) return fail_with_errno("poll of the machine's control socket");
  if (ready == 0) return fail(ETIMEDOUT, "the machine does not answer");
  return {};
}

}  // namespace

Result<MachineClient> MachineClient::connect(std::string_view socket_name) {
  UniqueFd socket = CW_TRY(server::connect_to(socket_name, SOCK_SEQPACKET));
  ProcessWatch watch = CW_TRY(ProcessWatch::of_peer(socket.get()));
  return MachineClient(std::move(socket), std::move(watch));
}

Result<hw::control::Reply> MachineClient::request(hw::control::Op op, uint64_t value, uint64_t argument,
                                                  UniqueFd* descriptor) {
  hw::control::Request request{hw::control::kProtocolVersion, op, value, argument};
  CW_TRY(hw::send_packet(socket_.get(), &request, sizeof request));
  CW_TRY(wait_readable(socket_.get()));
  hw::control::Reply reply{};
  hw::Packet packet = CW_TRY(hw::receive_packet(socket_.get(), &reply, sizeof reply));
  if (packet.bytes != sizeof reply) return fail(EPROTO, "the machine's answer has another size than ours");
  if (reply.error != 0) return fail(reply.error, "the machine refuses the request");
  if (descriptor != nullptr) *descriptor = std::move(packet.fd);
  reply.text[hw::control::kReplyText - 1] = '\0';
  return reply;
}

Result<std::string> MachineClient::status() {
  std::string text;
  while (true) {
    auto reply = CW_TRY(request(hw::control::Op::kStatus, text.size()));
    std::string_view part = reply.text;
    text += part;
    if (part.empty() || text.size() >= reply.value) return text;
  }
}

Status MachineClient::inject(hw::control::Fault fault, uint64_t nth_transfer) {
  CW_TRY(request(hw::control::Op::kInject, static_cast<uint64_t>(fault), nth_transfer));
  return {};
}

Status MachineClient::power_off() {
  auto reply = request(hw::control::Op::kPowerOff);
  // Whether it answers before it ends is a race that does not matter.
  if (!reply && reply.error().code != Errno{ECONNRESET} && reply.error().code != Errno{EPIPE})
    return fail(reply.error());
  if (!watch_.wait(kTimeoutMs)) return fail(ETIMEDOUT, "the machine still runs after its power was switched off");
  return {};
}

}  // namespace causeway::cli
