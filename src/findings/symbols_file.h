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

  // Addresses as libdwfl counts them.
  struct Named {
    GElf_Addr begin, end;
    const char* name;
    bool is_object;
    int rank;  // which of several names of one place is told
  };
  // The name of the function there; nullptr: none.
  const char* function_at(GElf_Addr address);
  // The variable there; nullptr: none.
  const Named* object_at(GElf_Addr address);

 private:
  const Named* named_at(GElf_Addr address);
  bool names_known_ = false;
  std::vector<Named> names_;  // by begin
};

}  // namespace causeway::findings
