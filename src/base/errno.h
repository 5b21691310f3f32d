// Error numbers: the kernel's own, as a type of its own.
//
// An Errno is one of the positive E* values of <cerrno>, so that it cannot be confused with a count
// or a length. It becomes the `-errno` of the uAPI only at the ioctl border.
//
//   return fail(ENOMEM, "no free block of order 9");
#pragma once

#include <cerrno>

namespace causeway {

enum class Errno : int {};

// "ENOMEM" for Errno{ENOMEM}; "E?" for a value without a name.
const char* name_of(Errno value);

// The value an ioctl returns: -12 for Errno{ENOMEM}.
constexpr int to_return_value(Errno value) { return -static_cast<int>(value); }

}  // namespace causeway
