#include "cli/sabotage.h"

#include <fmt/format.h>

namespace causeway::cli {
namespace {

using hw::control::Fault;

constexpr SabotageMode kModes[] = {
    {"skip-preserve", "stream", "the driver does not preserve the rings its device works with",
     "the next kernel cannot adopt the device"},
    {"early-free", "stream", "buffers are freed while the device still writes to them",
     "memory in use by somebody else is overwritten"},
    {"short-preserve", "stream", "of a 20 KiB allocation only 5 pages are preserved, not the block of 8",
     "the rest of the block is not the driver's any more"},
    {"wrong-refcount", "stream", "an unsplit block is restored with every page counted, as if it were split",
     "the page allocator finds pages in a bad state when they are freed"},
    {"stop-device", "stream", "the new driver resets the device instead of adopting it",
     "the stream starts anew and records are lost"},
    {"corrupt", "stream", "the machine flips one byte of a record on its way to memory", "one record is damaged",
     Fault::kCorruptByte},
    {"skip-preserve", "nvme", "the driver does not preserve the queues its controller works with",
     "the next kernel cannot adopt the controller"},
    {"early-free", "nvme", "data buffers are freed while commands on them are in flight",
     "memory in use by somebody else is overwritten"},
    {"stop-device", "nvme", "the new driver resets the controller instead of adopting it",
     "commands in flight are lost"},
    {"drop-in-flight", "nvme", "the new driver forgets the commands that were in flight",
     "their completions are nobody's, and they count as lost"},
    {"replay-in-flight", "nvme", "the new driver submits the commands in flight once more",
     "they complete twice"},
    {"corrupt", "nvme", "the machine flips one byte of a block that is read", "one block is damaged",
     Fault::kNvmeCorruptData},
    {"lose-completion", "nvme", "the controller carries out a command and never says so", "one command is lost",
     Fault::kNvmeLoseCompletion},
    {"repeat-completion", "nvme", "the controller completes a command twice", "one completion too many",
     Fault::kNvmeRepeatCompletion},
    {"drop-context", SabotageMode::kEveryWorkload, "the table with the device's context entry is not preserved",
     "the next kernel refuses the device and names what is missing (damage), or context_dropped"},
    {"reuse-did", SabotageMode::kEveryWorkload, "the new kernel gives the id of a preserved domain to another one",
     "one tag for two page tables: domain_id_shared"},
    {"te-off", SabotageMode::kEveryWorkload, "translation is switched off for the jump",
     "transfers go to untranslated addresses: translation_off_live, te_off_transitions"},
    {"skip-flush", SabotageMode::kEveryWorkload, "unmapped addresses are given out again without a flush of the IOTLB",
     "the device reaches pages by what is cached: stale_translation"},
    {"stale-restore", SabotageMode::kEveryWorkload, "the new kernel restores a page table as it was some mappings ago",
     "addresses lead to other pages: stale_translation, translation_changed, or corruption"},
};

}  // namespace

std::span<const SabotageMode> sabotage_modes() { return kModes; }

const SabotageMode* find_sabotage(std::string_view workload, std::string_view name) {
  for (const SabotageMode& mode : kModes) {
    if ((workload == mode.workload || mode.needs_iommu()) && name == mode.name) return &mode;
  }
  return nullptr;
}

std::string sabotage_help() {
  std::string text = "what --sabotage MODE breaks; the demo must then exit 1 and name what it saw:\n";
  for (const SabotageMode& mode : kModes)
    text += fmt::format("  {:<8} {:<17} {};\n  {:<26} {}\n", mode.workload, mode.name, mode.breaks, "", mode.effect);
  return text;
}

bool done_by_machine(const SabotageMode& mode) { return mode.fault != Fault{}; }

}  // namespace causeway::cli
