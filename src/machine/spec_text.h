// The words that texts about a machine's parts are made of.
//
//   Bdf bdf = CW_TRY(parse_bdf("00:02.0"));
//   std::optional<uint64_t> rate = parse_number("17", 10);
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace causeway::machine {

// The whole text, or nothing.
std::optional<uint64_t> parse_number(std::string_view text, int base);
// "00:DD.F". EINVAL.
Result<Bdf> parse_bdf(std::string_view text);

}  // namespace causeway::machine
