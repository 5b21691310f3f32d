#include "machine/spec_text.h"

#include <charconv>

#include "hw/pci.h"

namespace causeway::machine {

std::optional<uint64_t> parse_number(std::string_view text, int base) {
  uint64_t value;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Bdf> parse_bdf(std::string_view text) {
  constexpr const char* kForm = "a device's address is not of the form 00:DD.F";
  if (text.size() != 7 || text[2] != ':' || text[5] != '.') return fail(EINVAL, kForm);
  auto bus = parse_number(text.substr(0, 2), 16);
  auto device = parse_number(text.substr(3, 2), 16);
  auto function = parse_number(text.substr(6, 1), 16);
  if (!bus || !device || !function) return fail(EINVAL, kForm);
  if (*bus != 0) return fail(EINVAL, "the machine has only bus 0");
  if (*device >= hw::pci::kDevicesPerBus || *function >= hw::pci::kFunctionsPerDevice)
    return fail(EINVAL, "a device's address is beyond 00:1f.7");
  return Bdf(0, static_cast<unsigned>(*device), static_cast<unsigned>(*function));
}

}  // namespace causeway::machine
