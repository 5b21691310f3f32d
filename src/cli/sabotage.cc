#include "cli/sabotage.h"

#include <fmt/format.h>

namespace causeway::cli {
namespace {

constexpr std::string_view kCorrupt = "corrupt";

constexpr SabotageMode kModes[] = {
    {"skip-preserve", "the driver does not preserve the rings its device works with",
     "the next kernel cannot adopt the device"},
    {"early-free", "buffers are freed while the device still writes to them",
     "memory in use by somebody else is overwritten"},
    {"short-preserve", "of a 20 KiB allocation only 5 pages are preserved, not the block of 8",
     "the rest of the block is not the driver's any more"},
    {"wrong-refcount", "an unsplit block is restored with every page counted, as if it were split",
     "the page allocator finds pages in a bad state when they are freed"},
    {"stop-device", "the new driver resets the device instead of adopting it",
     "the stream starts anew and records are lost"},
    {"corrupt", "the machine flips one byte of a record on its way to memory", "one record is damaged"},
};

}  // namespace

std::span<const SabotageMode> sabotage_modes() { return kModes; }

const SabotageMode* find_sabotage(std::string_view name) {
  for (const SabotageMode& mode : kModes) {
    if (name == mode.name) return &mode;
  }
  return nullptr;
}

std::string sabotage_help() {
  std::string text = "what --sabotage MODE breaks; the demo must then exit 1 and name what it saw:\n";
  for (const SabotageMode& mode : kModes)
    text += fmt::format("  {:<15} {};\n  {:<15} {}\n", mode.name, mode.breaks, "", mode.effect);
  return text;
}

bool done_by_machine(const SabotageMode& mode) { return mode.name == kCorrupt; }

}  // namespace causeway::cli
