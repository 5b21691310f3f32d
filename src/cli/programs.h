// Where the other programs of an installation lie: beside the `causeway` binary.
//
//   std::string machine = CW_TRY(program_path(kMachineProgram));
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace causeway::cli {

inline constexpr std::string_view kMachineProgram = "causeway-machine";
inline constexpr std::string_view kKernelProgram = "causeway-kernel";
inline constexpr std::string_view kNextKernelProgram = "causeway-kernel-next";

inline constexpr std::string_view kShimLibrary = "libcauseway-shim.so";
inline constexpr std::string_view kDeptLibrary = "libcauseway-dept.so";

// ENOENT: there is no such file beside this program.
Result<std::string> program_path(std::string_view name);

// A library of this installation: ../lib beside a build's programs, ../lib/causeway in an installed one. ENOENT.
Result<std::string> library_path(std::string_view name);

// The file a running process was started from. ESRCH: no such process.
Result<std::string> program_of_process(int pid);

// The default target of a live update: the other one of the two kernels of this installation than
// `running`, which is the path of the running one. Any foreign kernel is followed by kNextKernelProgram.
std::string_view other_kernel(std::string_view running);

// `path` as a process with another working directory needs it.
std::string absolute_path(const std::string& path);

}  // namespace causeway::cli
