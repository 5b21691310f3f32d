#include "machine/device_spec.h"

#include <algorithm>
#include <optional>

#include "hw/nvme.h"
#include "hw/pci.h"
#include "machine/spec_text.h"

namespace causeway::machine {
namespace {

Result<Bdf> first_free(const std::vector<DeviceSpec>& taken) {
  for (unsigned device = 1; device < hw::pci::kDevicesPerBus; ++device) {
    Bdf bdf(0, device, 0);
    bool used =
        std::any_of(taken.begin(), taken.end(), [&](const DeviceSpec& spec) { return spec.bdf == bdf; });
    if (!used) return bdf;
  }
  return fail(ENOSPC, "no free place on the bus for another device");
}

// What every device may have. False: another option.
Result<bool> apply_pci_option(DeviceSpec& spec, std::string_view name, std::string_view value) {
  if (name == "ats") {
    if (value != "0" && value != "1") return fail(EINVAL, "ats of a device is not 0 or 1");
    spec.ats = value == "1";
    return true;
  }
  if (name == "pasid") {
    auto bits = parse_number(value, 10);
    if (!bits || *bits > 20) return fail(EINVAL, "the pasid of a device is not 0 to 20 bits");
    spec.pasid_bits = static_cast<unsigned>(*bits);
    return true;
  }
  return false;
}

Status apply_dma_option(DeviceSpec& spec, std::string_view name, std::string_view value) {
  if (name != "width") return fail(EINVAL, "a dma device has the options width, ats and pasid");
  auto width = parse_number(value, 10);
  if (!width || (*width != 32 && *width != 40 && *width != 64))
    return fail(EINVAL, "the width of a dma device is not 32, 40 or 64");
  spec.address_width = static_cast<unsigned>(*width);
  return {};
}

Status apply_nvme_option(NvmeOptions& options, std::string_view name, std::string_view value) {
  constexpr uint64_t kMaxBuffer = MiB(4);
  if (name == "file") {
    if (value.empty()) return fail(EINVAL, "the file of an nvme device has no name");
    options.file = value;
    return {};
  }
  if (name == "size") {
    options.size = CW_TRY(parse_size(value));
    return {};
  }
  if (name == "cmb" && value != "0") {
    options.cmb = CW_TRY(parse_size(value));
    if (!is_aligned(options.cmb, kPageSize) || options.cmb > kMaxBuffer)
      return fail(EINVAL, "the cmb of an nvme device is not a number of pages up to 4M");
    return {};
  }
  auto parsed = parse_number(value, 10);
  if (!parsed) return fail(EINVAL, "an option of an nvme device needs a number");
  if (name == "cmb") {
    options.cmb = 0;
  } else if (name == "lba") {
    if (*parsed != 512 && *parsed != 4096)
      return fail(EINVAL, "the lba of an nvme device is not 512 or 4096");
    options.block_size = static_cast<uint32_t>(*parsed);
  } else if (name == "queues") {
    if (*parsed < 1 || *parsed > hw::nvme::kMaxIoQueues)
      return fail(EINVAL, "the queues of an nvme device are not 1 to 16");
    options.queues = static_cast<unsigned>(*parsed);
  } else if (name == "shuffle") {
    if (*parsed > 1) return fail(EINVAL, "shuffle of an nvme device is not 0 or 1");
    options.shuffle = *parsed == 1;
  } else if (name == "latency_us") {
    if (*parsed > 10'000'000) return fail(EINVAL, "the latency of an nvme device is longer than ten seconds");
    options.latency_us = static_cast<uint32_t>(*parsed);
  } else {
    return fail(EINVAL,
                "an nvme device has the options file, size, lba, queues, cmb, shuffle, latency_us, ats and pasid");
  }
  return {};
}

}  // namespace

Result<DeviceSpec> parse_device_spec(std::string_view text, const std::vector<DeviceSpec>& taken) {
  DeviceSpec spec;
  std::string_view head = text.substr(0, text.find(','));
  std::string_view options = head.size() == text.size() ? std::string_view() : text.substr(head.size() + 1);
  if (head.size() != text.size() && options.empty()) return fail(EINVAL, "a device option is empty");
  std::string_view kind = head.substr(0, head.find('@'));
  if (kind != "dma" && kind != "nvme") return fail(EINVAL, "the kind of a device is not 'dma' or 'nvme'");
  if (kind == "nvme") {
    spec.kind = DeviceKind::kNvme;
    spec.nvme.size = 0;
  }
  spec.bdf = kind.size() == head.size() ? CW_TRY(first_free(taken))
                                        : CW_TRY(parse_bdf(head.substr(kind.size() + 1)));

  while (!options.empty()) {
    std::string_view option = options.substr(0, options.find(','));
    options.remove_prefix(std::min(options.size(), option.size() + 1));
    std::string_view name = option.substr(0, option.find('='));
    if (name.size() == option.size()) return fail(EINVAL, "a device option is not of the form name=value");
    std::string_view value = option.substr(name.size() + 1);
    if (CW_TRY(apply_pci_option(spec, name, value))) continue;
    if (spec.kind == DeviceKind::kNvme) {
      CW_TRY(apply_nvme_option(spec.nvme, name, value));
    } else {
      CW_TRY(apply_dma_option(spec, name, value));
    }
  }
  if (spec.kind == DeviceKind::kNvme) {
    NvmeOptions& nvme = spec.nvme;
    if (nvme.file.empty() && nvme.size == 0) nvme.size = NvmeOptions{}.size;
    if (nvme.size % nvme.block_size != 0)
      return fail(EINVAL, "the size of an nvme device is not a number of its blocks");
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
  auto value = parse_number(text, 10);
  if (!value || *value == 0) return fail(EINVAL, "a size is not a positive number with K, M, G or T");
  if (*value > ~uint64_t{0} >> shift) return fail(ERANGE, "a size does not fit into 64 bits");
  return *value << shift;
}

}  // namespace causeway::machine
