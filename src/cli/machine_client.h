// The machine's control socket (hw/control.h), as a client outside any kernel uses it.
//
//   auto machine = CW_TRY(MachineClient::connect(server::machine_socket_name("default")));
//   std::string text = CW_TRY(machine.status());
//   CW_TRY(machine.inject(hw::control::Fault::kCorruptByte, 100));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cli/process_watch.h"
#include "hw/control.h"

namespace causeway::cli {

class MachineClient {
 public:
  // ECONNREFUSED: there is no machine of that name.
  static Result<MachineClient> connect(std::string_view socket_name);

  // One request and its reply. ECONNRESET: the machine is gone; ETIMEDOUT; EPROTO; else the machine's own error.
  Result<hw::control::Reply> request(hw::control::Op op, uint64_t value = 0, uint64_t argument = 0,
                                     UniqueFd* descriptor = nullptr);

  Result<std::string> status();  // `name=value` lines
  Status inject(hw::control::Fault fault, uint64_t nth_transfer);
  // Returns when the machine's process has ended. ETIMEDOUT.
  Status power_off();
  // Of the machine's process.
  int pid() const { return watch_.pid(); }

 private:
  MachineClient(UniqueFd socket, ProcessWatch watch) : socket_(std::move(socket)), watch_(std::move(watch)) {}
  UniqueFd socket_;
  ProcessWatch watch_;
};

}  // namespace causeway::cli
