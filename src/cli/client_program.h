// Which way a program can be served by our kernel: the shim is preloaded into a dynamically linked one; one that makes
// system calls without a C library has to be supervised.
//
//   ClientProgram program = CW_TRY(ClientProgram::find("qemu-system-x86_64", &reason));
//   if (program.linking == Linking::kStatic) ...
#pragma once

#include <string>

#include "base/result.h"

namespace causeway::cli {

enum class Linking : uint8_t {
  kDynamic,   // through an interpreter that honours LD_PRELOAD
  kStatic,    // no interpreter: nothing can be preloaded
  kForeign,   // another architecture or word size than ours
  kSetuid,    // the loader ignores LD_PRELOAD
};

struct ClientProgram {
  std::string path;         // as execve() wants it
  std::string interpreted;  // the program that a "#!" line names, whose linking counts; "" if it is none
  Linking linking = Linking::kDynamic;
  bool makes_own_system_calls = false;  // Go: linked dynamically, but its run-time bypasses the C library

  // Searches PATH as the shell does. ENOENT, EACCES, ENOEXEC; `reason` says what and what to do.
  static Result<ClientProgram> find(const std::string& name, std::string* reason);
};

}  // namespace causeway::cli
