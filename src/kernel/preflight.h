// Preflight: can this file be the next kernel? Asked before anything is frozen.
//
//   auto target = preflight("build/release/bin/causeway-kernel-next");
//   if (!target) refuse(target.error(), "...");
//
// Every kernel binary carries an ELF note (section .note.causeway) with its release and the handover
// formats it can read. A target without the note is no kernel; one that cannot read the format in use
// would boot cold and lose everything, so it is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::kernel {

struct Target {
  std::string path;
  std::string release;
  std::string build_id;              // hex; empty if the file has none
  std::vector<std::string> formats;  // compatible strings it reads
};

// Errors: ENOENT, EACCES (not executable), ENOEXEC (not an ELF program of this machine, or not a
// kernel), EPROTONOSUPPORT (does not read `format`). `reason` gets a sentence for people: what and what to do.
Result<Target> preflight(const std::string& path, std::string_view format, std::string* reason = nullptr);

}  // namespace causeway::kernel
