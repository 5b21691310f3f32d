// Which devices a machine has, as text: `dma[@BB:DD.F][,width=32|40|64]`.
//
//   DeviceSpec spec = CW_TRY(parse_device_spec("dma@00:02.0,width=32"));
//   uint64_t ram = CW_TRY(parse_size("256M"));
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace causeway::machine {

enum class DeviceKind : uint8_t { kDmaEngine };

struct DeviceSpec {
  DeviceKind kind = DeviceKind::kDmaEngine;
  Bdf bdf{0, 1, 0};
  unsigned address_width = 64;  // bits, at power-on and after a reset
};

// Without an address the device comes to the first free one after `taken`, from 00:01.0. EINVAL with the
// part that is wrong; bus 0 is the only one.
Result<DeviceSpec> parse_device_spec(std::string_view text, const std::vector<DeviceSpec>& taken = {});

// Bytes: a positive decimal number, optionally with K, M, G or T (powers of 1024). EINVAL, ERANGE.
Result<uint64_t> parse_size(std::string_view text);

}  // namespace causeway::machine
