// One opened file of symbols. Private to this room.
#pragma once

#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>

#include <map>
#include <unordered_map>

#include "findings/symbols.h"

namespace causeway::findings {

struct Symbols::File {
  File() = default;
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  Dwfl* dwfl = nullptr;
  Dwfl_Module* module = nullptr;  // nullptr: it is gone, or another one
  GElf_Addr bias = 0;             // what libdwfl adds to the file's addresses
  std::string build_id;
  std::unordered_map<uint64_t, Trace> lines;
  bool variables_known = false;
  std::map<uint64_t, Dwarf_Die> variables;  // global ones by address

  // The name of the function at an address as libdwfl counts them; nullptr: none.
  const char* function_at(GElf_Addr address);

 private:
  struct Function {
    GElf_Addr begin, end;
    const char* name;
    int rank;  // which of several names of one function is told
  };
  bool functions_known_ = false;
  std::vector<Function> functions_;  // by begin; empty: libdwfl is asked each time
};

}  // namespace causeway::findings
