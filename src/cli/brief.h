// An error as a user reads it: "ECONNREFUSED: nobody listens on this socket", without the line of code.
#pragma once

#include <string>

#include "base/result.h"

namespace causeway::cli {

inline std::string brief(const Error& error) { return std::string(name_of(error.code)) + ": " + error.message; }

}  // namespace causeway::cli
