// Texts of a recording as they may be shown: of a length that can be, and printable, whatever the file says.
//
//   fmt::print("{}\n", text_of(arena, object.name));
//
// Private to this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "dept/arena.h"

namespace causeway::findings {

std::string text_of(const dept::Arena& arena, dept::StringId id);
// Path of the program whose recording this is.
std::string path_of_program(const dept::Arena& arena);
std::string name_of(const dept::Thread& thread);
// As it lies in the file system, to be opened: not printable.
std::string path_of(const dept::Arena& arena, const dept::Module& module);
std::string build_id_of(const dept::Module& module);
std::string hexadecimal(const uint8_t* bytes, size_t count);

}  // namespace causeway::findings
