// Program counters and addresses of data as names: by ELF symbols and DWARF of the file they lie in.
//
//   Symbols symbols;
//   for (const CodeLine& line : symbols.code("/usr/bin/prog", 0x1234, build_id)) ...   // inlined calls first
//   symbols.data("/usr/bin/prog", 0x4060, build_id);                                    // "cache.mu"
//
// Addresses are those of the file (without the load bias). Each file is opened once, and each address looked up once. A file that is
// gone, or is another than the one that ran (build id), gives module and offset. Debug information is looked for in the file,
// and in /usr/lib/debug by build id.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "findings/finding.h"

namespace causeway::findings {

class Symbols {
 public:
  Symbols();
  ~Symbols();
  Symbols(const Symbols&) = delete;
  Symbols& operator=(const Symbols&) = delete;

  // The lines of code at this address, innermost first; never empty. `build_id` as it was in memory; empty: not checked.
  const Trace& code(const std::string& path, uint64_t address, std::string_view build_id);
  // The name of the variable there, with the member if the debug information tells: "cache.mu", "table[3].lock".
  std::optional<std::string> data(const std::string& path, uint64_t address, std::string_view build_id);

 private:
  struct File;
  File* file(const std::string& path, std::string_view build_id);
  std::map<std::string, std::unique_ptr<File>> files_;
};

// "ns::f<int>(char)" without "(char)"; what is no C++ name stays.
std::string demangled(const char* name);
// Whether this function only leads to the primitive: std::lock_guard, pthread_mutex_lock, std::condition_variable::wait ...
bool is_wrapper(std::string_view function);

}  // namespace causeway::findings
