#include <fmt/core.h>
#include <unistd.h>

#include "server/control.h"

namespace causeway::server {

namespace {

using Lines = std::vector<std::pair<std::string, std::string>>;

class Writer {
 public:
  explicit Writer(Lines& lines, std::string prefix = {}) : lines_(lines), prefix_(std::move(prefix)) {}
  void text(std::string_view name, std::string_view value) { lines_.emplace_back(prefix_ + std::string(name), value); }
  void number(std::string_view name, uint64_t value) { text(name, fmt::format("{}", value)); }

 private:
  Lines& lines_;
  std::string prefix_;
};

void write_kho(Writer out, const kho::KhoStats& kho) {
  out.number("boot", kho.kho_boot);
  out.number("kexec_count", kho.kexec_count);
  out.text("previous_release", kho.previous_release);
  out.number("incoming_blocks", kho.incoming_blocks);
  out.number("incoming_pages", kho.incoming_pages);
  out.number("restored_pages", kho.restored_pages);
  out.number("unrestored_pages", kho.unrestored_pages);
  out.number("unrestored_by_design", kho.unrestored_by_design);
  out.number("failed_restores", kho.failed_restores);
  out.number("preserved_blocks", kho.preserved_blocks);
  out.number("preserved_pages", kho.preserved_pages);
  out.number("tree_pages", kho.tree_pages);
}

void write_iommu(Writer out, const kernel::DmaRemappingStats& iommu) {
  out.number("units", iommu.units);
  out.number("devices", iommu.devices);
  out.number("restored_devices", iommu.restored_devices);
  out.number("restored_domains", iommu.restored_domains);
  out.number("table_pages", iommu.table_pages);
  out.number("faults", iommu.fault_count);
  for (size_t i = 0; i < iommu.faults.size(); ++i) out.text(fmt::format("fault.{}", i), iommu.faults[i]);
  out.number("damage", iommu.damage.size());
  for (size_t i = 0; i < iommu.damage.size(); ++i) out.text(fmt::format("damage.{}", i), iommu.damage[i]);
}

template <typename Stats>
void write_fields(Writer out, const Stats& stats) {
  for_each_field(stats, [&](const char* name, auto value) { out.number(name, static_cast<uint64_t>(value)); });
}

}  // namespace

Lines status_lines(const kernel::KernelStatus& status) {
  Lines lines;
  Writer out(lines);
  out.number("ok", 1);
  out.number("pid", static_cast<uint64_t>(::getpid()));
  out.text("release", status.release);
  out.number("generation", status.generation);
  out.text("boot", kernel::name_of(status.boot));
  out.text("command_line", status.command_line);
  out.number("boot_ns", status.boot_ns);
  out.number("commit_ns", status.commit_ns);
  write_kho(Writer(lines, "kho."), status.kho);
  for (unsigned zone = 0; zone < mm::kZones; ++zone) {
    Writer zone_out(lines, zone == 0 ? "mm.dma32." : "mm.normal.");
    zone_out.number("managed", status.pages.zone[zone].managed_pages);
    zone_out.number("free", status.pages.zone[zone].free_pages);
  }
  Writer mm_out(lines, "mm.");
  mm_out.number("bad_pages", status.pages.bad_pages);
  mm_out.number("leaked_pages", status.pages.leaked_pages);
  mm_out.number("tainted", status.pages.tainted);
  write_iommu(Writer(lines, "iommu."), status.iommu);
  Writer dma_out(lines, "dma.");
  dma_out.number("allocations", status.dma.allocations);
  dma_out.number("preserved", status.dma.preserved);
  dma_out.number("restored", status.dma.restored);
  dma_out.number("leaked", status.dma.leaked);
  dma_out.number("leaked_pages", status.dma.leaked_pages);
  dma_out.number("debug_errors", status.dma.debug_errors);
  for (const auto& [bdf, engine] : status.engines) write_fields(Writer(lines, "dma." + bdf + "."), engine);
  for (const auto& [bdf, nvme] : status.nvmes) write_fields(Writer(lines, "nvme." + bdf + "."), nvme);
  Writer luo_out(lines, "luo.");
  luo_out.number("enabled", status.luo.enabled);
  luo_out.number("liveupdate_num", status.luo.liveupdate_num);
  luo_out.number("outgoing_sessions", status.luo.outgoing_sessions);
  luo_out.number("outgoing_files", status.luo.outgoing_files);
  luo_out.number("incoming_sessions", status.luo.incoming_sessions);
  luo_out.number("incoming_files", status.luo.incoming_files);
  luo_out.text("refusal", status.luo.refusal);
  Writer pressure_out(lines, "pressure.");
  pressure_out.number("rounds", status.pressure_rounds);
  pressure_out.number("damaged", status.pressure_damaged);
  for (const std::string& error : status.driver_errors) out.text("driver_error", error);
  for (const std::string& problem : status.problems) out.text("problem", problem);
  return lines;
}

}  // namespace causeway::server
