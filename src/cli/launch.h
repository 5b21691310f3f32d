// Starts a machine, and a kernel on it, and waits until they answer.
//
//   std::string reason;
//   auto machine = launch_machine("default", {.ram = "1G"}, Child::Options{}, &reason);
//   auto kernel = launch_kernel("default", {.program = path}, Child::Options{}, &reason);
//   if (!kernel) return complain(reason);
//
// `name` is the machine's; the sockets follow from it. On an error `reason` says what happened and what to do.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/child.h"

namespace causeway::cli {

struct MachineSpec {
  std::string ram;                   // as the user gave it; "": the machine's default
  std::vector<std::string> devices;  // likewise
  std::string iommu = "";            // as the machine wants it (iommu_mode.h); "": none
};

struct KernelSpec {
  std::string program;               // "": the kernel of this installation
  std::string command_line;
  std::vector<std::string> arguments;  // further arguments of the program: "--point", "NAME=kill"
};

// ENOENT: the installation is incomplete; ECHILD: it ended before it answered; ETIMEDOUT; those of Child::start().
Result<Child> launch_machine(const std::string& name, const MachineSpec& spec, const Child::Options& options,
                             std::string* reason);
Result<Child> launch_kernel(const std::string& name, const KernelSpec& spec, const Child::Options& options,
                            std::string* reason);

// A name that nobody else uses: for machines that belong to one command.
std::string private_name();

// "256M", "4G": digits with an optional K, M, G or T.
bool is_size(const std::string& text);

}  // namespace causeway::cli
