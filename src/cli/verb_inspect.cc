#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/brief.h"
#include "cli/verb.h"
#include "inspect/decode.h"
#include "inspect/image_file.h"
#include "inspect/render.h"

namespace causeway::cli {
namespace {

struct Settings {
  std::string image;
  std::string fdt;
  std::string device;
  uint64_t max_size = inspect::OpenOptions{}.max_bytes;
  bool all = false;
  bool json = false;
};

// A physical address: hexadecimal with 0x, else decimal.
std::optional<uint64_t> parse_address(const std::string& text) {
  if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) return std::nullopt;
  char* end = nullptr;
  errno = 0;
  const uint64_t value = std::strtoull(text.c_str(), &end, text.rfind("0x", 0) == 0 ? 16 : 10);
  if (errno != 0 || *end != '\0') return std::nullopt;
  return value;
}

// "00:01.0", or "0000:00:01.0" with the segment.
std::optional<inspect::Options::DeviceAddress> parse_device(const std::string& text) {
  unsigned segment = 0, bus = 0, device = 0, function = 0;
  int end = 0;
  const char* start = text.c_str();
  if (text.size() == 12) {
    if (std::sscanf(start, "%4x:%2x:%2x.%1x%n", &segment, &bus, &device, &function, &end) != 4) return std::nullopt;
  } else if (std::sscanf(start, "%2x:%2x.%1x%n", &bus, &device, &function, &end) != 3) {
    return std::nullopt;
  }
  if (static_cast<size_t>(end) != text.size() || device > 31 || function > 7) return std::nullopt;
  return inspect::Options::DeviceAddress{static_cast<uint16_t>(segment), Bdf(bus, device, function)};
}

// The devices that are in the image, for who asked for another.
std::string devices_of(const inspect::Report& report) {
  std::string text;
  uint64_t shown = 0, all = 0;
  for (const inspect::IommuState& state : report.iommu)
    for (const inspect::IommuDevice& device : state.devices)
      if (++all <= 32) text += fmt::format("{}{}", ++shown == 1 ? "" : ", ", inspect::device_name(device));
  if (all == 0) return "it has no IOMMU state";
  return fmt::format("those in it are {}{}", text, all > shown ? fmt::format(" and {} more", all - shown) : "");
}

int run(const CLI::App& command, const Settings& settings) {
  auto image = inspect::ImageFile::open(settings.image, {.max_bytes = settings.max_size});
  if (!image) return complain(command, settings.json, fmt::format("{}: {}", settings.image, brief(image.error())));
  inspect::Options options = inspect::options_for(*image);
  if (auto address = parse_address(settings.fdt)) options.fdt = PhysAddr(*address);
  options.device = parse_device(settings.device);
  if (settings.all) {
    options.max_ranges = options.max_iommu_records = ~uint64_t{0};
    options.max_folios_per_file = options.max_folios = options.max_files = options.max_findings = ~uint64_t{0};
    options.tree.max_blocks = ~uint64_t{0};
  }
  const inspect::Report report = inspect::decode(image->memory(), options);
  if (!settings.device.empty() && !report.translation.has_value())
    return complain(command, settings.json,
                    fmt::format("{}: no device {} is handed over: {}", settings.image, settings.device, devices_of(report)));
  if (settings.json)
    print_json(inspect::to_json(report));
  else
    fmt::print("{}", inspect::render_text(report, {.name = settings.image, .all = settings.all}));
  return report.findings.problems() == 0 ? kOk : kFailed;
}

}  // namespace

Verb add_inspect(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("inspect", "decode a handover image, Causeway's or a Linux kernel's");
  command->add_option("image", settings->image, "ELF core or raw memory, also compressed with zstd")
      ->type_name("IMAGE")
      ->required();
  command
      ->add_option("--fdt", settings->fdt, "physical address of the root FDT; otherwise the dump's note says, or it is searched for")
      ->type_name("PHYS")
      ->check([](const std::string& text) {
        return parse_address(text) ? std::string() : fmt::format("'{}': want an address such as 0x100000", text);
      });
  command
      ->add_option("--device", settings->device,
                   "draw how this device's addresses are translated: unit, entries, page table, mapped ranges")
      ->type_name("BDF")
      ->check([](const std::string& text) {
        return parse_device(text) ? std::string() : fmt::format("'{}': want an address such as 00:01.0", text);
      });
  command->add_option("--max-size", settings->max_size, "most non-zero bytes a compressed image may unpack to")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_flag("--all", settings->all, "list everything, however much it is");
  add_json_flag(*command, settings->json);
  command->footer(
      "Exit status 0: no problems; 1: problems, or the image cannot be read.\n\n"
      "Example: causeway inspect vmcore.zst --json\n"
      "         causeway inspect handover.elf --device 00:01.0");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
