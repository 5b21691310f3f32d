// Bytes from elsewhere as text that a terminal can be given.
//
//   fmt::print("{}\n", printable(name));      // "a\x1b[2Jb"
#pragma once

#include <string>
#include <string_view>

namespace causeway {

// Control characters, and all above 0x7e if they are not UTF-8, as \xNN.
std::string printable(std::string_view bytes);

}  // namespace causeway
