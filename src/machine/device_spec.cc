#include "machine/device_spec.h"

#include <algorithm>
#include <charconv>

#include "hw/pci.h"

namespace causeway::machine {
namespace {

std::optional<uint64_t> number(std::string_view text, int base) {
  uint64_t value;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Bdf> parse_bdf(std::string_view text) {
  constexpr const char* kForm = "a device's address is not of the form 00:DD.F";
  if (text.size() != 7 || text[2] != ':' || text[5] != '.') return fail(EINVAL, kForm);
  auto bus = number(text.substr(0, 2), 16);
  auto device = number(text.substr(3, 2), 16);
  auto function = number(text.substr(6, 1), 16);
  if (!bus || !device || !function) return fail(EINVAL, kForm);
  if (*bus != 0) return fail(EINVAL, "the machine has only bus 0");
  if (*device >= hw::pci::kDevicesPerBus || *function >= hw::pci::kFunctionsPerDevice)
    return fail(EINVAL, "a device's address is beyond 00:1f.7");
  return Bdf(0, static_cast<unsigned>(*device), static_cast<unsigned>(*function));
}

Result<Bdf> first_free(const std::vector<DeviceSpec>& taken) {
  for (unsigned device = 1; device < hw::pci::kDevicesPerBus; ++device) {
    Bdf bdf(0, device, 0);
    bool used =
        std::any_of(taken.begin(), taken.end(), [&](const DeviceSpec& spec) { return spec.bdf == bdf; });
    if (!used) return bdf;
  }
  return fail(ENOSPC, "no free place on the bus for another device");
}

}  // namespace

Result<DeviceSpec> parse_device_spec(std::string_view text, const std::vector<DeviceSpec>& taken) {
  DeviceSpec spec;
  std::string_view head = text.substr(0, text.find(','));
  std::string_view options = head.size() == text.size() ? std::string_view() : text.substr(head.size() + 1);
  if (head.size() != text.size() && options.empty()) return fail(EINVAL, "a device option is empty");
  std::string_view kind = head.substr(0, head.find('@'));
  if (kind != "dma") return fail(EINVAL, "the kind of a device is not 'dma'");
  spec.bdf = kind.size() == head.size() ? CW_TRY(first_free(taken))
                                        : CW_TRY(parse_bdf(head.substr(kind.size() + 1)));

  while (!options.empty()) {
    std::string_view option = options.substr(0, options.find(','));
    options.remove_prefix(std::min(options.size(), option.size() + 1));
    if (!option.starts_with("width="))
      return fail(EINVAL, "the only option of a dma device is width=32|40|64");
    auto width = number(option.substr(6), 10);
    if (!width || (*width != 32 && *width != 40 && *width != 64))
      return fail(EINVAL, "the width of a dma device is not 32, 40 or 64");
    spec.address_width = static_cast<unsigned>(*width);
  }
  return spec;
}

Result<uint64_t> parse_size(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty()) {
    constexpr std::string_view kUnits = "KMGT";
    if (auto unit = kUnits.find(text.back()); unit != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(unit) + 1);
      text.remove_suffix(1);
    }
  }
  auto value = number(text, 10);
  if (!value || *value == 0) return fail(EINVAL, "a size is not a positive number with K, M, G or T");
  if (*value > ~uint64_t{0} >> shift) return fail(ERANGE, "a size does not fit into 64 bits");
  return *value << shift;
}

}  // namespace causeway::machine
