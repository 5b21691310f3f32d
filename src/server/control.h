// The kernel's control socket: what the causeway program asks of a running kernel.
//
// A unix stream socket in the abstract name space, so that nothing is left in a file system. One
// request per connection: words separated by spaces up to a newline; the reply is `name=value` lines
// and ends with the connection. The first line is `ok=1`, or `error=ENAME` followed by `reason=...`.
//
//   status                 everything in KernelStatus; see status_lines()
//   check PATH             preflight of a target kernel: path, release, build_id, formats
//   kexec PATH [--dump] [--point S]
//                          live update; ok=1 comes when the old kernel is frozen, just before the jump. If the
//                          jump fails after all, error= and reason= follow and the old kernel goes on.
//                          --dump writes the handover into the file whose descriptor comes with the request
//                          (SCM_RIGHTS): handover_dump.h; dump.* lines tell of it, and if it cannot be written the
//                          update is refused. --point arms a named point in the next kernel
//   devices                the paths that client programs are served: device= and ioctl_type= lines
//   points                 named points of this build, one `point=NAME` line each
//   drain                  ends the drivers' own workloads: ok=1 when none of their commands is in flight
//   shutdown               orderly end of the kernel (not of the machine)
//
// After `kexec` the next kernel answers on the same socket: the listening descriptor survives execve(), so
// a connection made in the blackout waits in its backlog.
//
//   Reply reply = CW_TRY(ask(kernel_socket_name("default"), "status"));
//   uint64_t records = reply.number("dma.00:01.0.records");
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"

namespace causeway::server {

// Abstract socket names of the machine called `name`, for this user.
std::string machine_socket_name(std::string_view name);
std::string kernel_socket_name(std::string_view name);
// Where client programs connect (server/wire.h).
std::string client_socket_name(std::string_view name);

// Gives a socket an abstract name. ENAMETOOLONG, EADDRINUSE.
Status bind_to(int socket, std::string_view abstract_name);
// type: SOCK_STREAM, SOCK_SEQPACKET. EADDRINUSE.
Result<UniqueFd> listen_on(std::string_view abstract_name, int type);
Result<UniqueFd> connect_to(std::string_view abstract_name, int type);  // ECONNREFUSED: nobody there; type: SOCK_STREAM...

struct Reply {
  std::vector<std::pair<std::string, std::string>> lines;  // in order, names may repeat
  bool ok() const;
  // "" / 0 if there is no such line.
  std::string text(std::string_view name) const;
  uint64_t number(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
};

// One request. ECONNREFUSED: no kernel listens; ECONNRESET: it died before it answered; ETIMEDOUT. An
// answer that says error= is a Reply, not an Error. `file`: a descriptor that goes with the request; -1: none.
Result<Reply> ask(std::string_view socket_name, std::string_view request, unsigned timeout_ms = 10000, int file = -1);

// The status reply: ok, pid, release, generation, boot, command_line, boot_ns, commit_ns,
// kho.{boot,kexec_count,previous_release,incoming_blocks,incoming_pages,restored_pages,unrestored_pages,
// unrestored_by_design,failed_restores,preserved_blocks,preserved_pages,tree_pages},
// mm.{dma32,normal}.{managed,free}, mm.{bad_pages,leaked_pages,tainted},
// dma.{allocations,preserved,restored,leaked,leaked_pages},
// dma.BDF.{adopted,records,bytes,lost,replayed,corrupted,refused,work_done,work_failed,device_completed,
// device_dropped,device_refused,device_starved_ns,device_max_gap_ns,device_max_late_ns,device_epoch,
// expected_epoch,blackout_ns,completed_before,completed_during,completed_after,first_work_ns,recycled},
// luo.{enabled,liveupdate_num,outgoing_sessions,outgoing_files,incoming_sessions,incoming_files,refusal},
// pressure.{rounds,damaged}, and one driver_error= and problem= line for each.
std::vector<std::pair<std::string, std::string>> status_lines(const kernel::KernelStatus& status);

}  // namespace causeway::server
