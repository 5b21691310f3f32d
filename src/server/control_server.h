// The kernel's end of the control socket: answers requests until the kernel is to end.
//
//   ControlServer server(*kernel, std::move(listener), jump);
//   server.run(signal_fd);     // returns after `shutdown`, SIGTERM or SIGINT
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"

namespace causeway::server {

// Replaces this program by the kernel at `path`, which arms `points`. Returns only if that failed.
using Jump = std::function<Error(const std::string& path, const std::vector<std::string>& points)>;

class ControlServer {
 public:
  ControlServer(kernel::Kernel& kernel, int listener, Jump jump)
      : kernel_(kernel), listener_(listener), jump_(std::move(jump)) {}

  // Serves one connection after the other. `signals`: a signalfd; a signal on it ends the loop.
  Status run(int signals);

 private:
  enum class Next : uint8_t { kGoOn, kEnd };
  Next serve(int connection);
  void check(int connection, const std::string& path);
  // `file`: what came with the request, -1 if nothing did.
  void kexec(int connection, std::string_view arguments, int file);

  kernel::Kernel& kernel_;
  int listener_;
  Jump jump_;
};

}  // namespace causeway::server
