#include "cli/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "kernel/preflight.h"

namespace causeway::cli {
namespace {

using drivers::DmaEngineStats;
using Lines = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kEnginePrefix = "dma.";
constexpr std::string_view kNvmePrefix = "nvme.";
constexpr std::string_view kEphemeralParameter = "no_handover=";

// "dma.00:01.0.records" -> {"00:01.0", "records"}; two empty strings for any other line.
std::pair<std::string_view, std::string_view> split_device_line(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  if (name.size() < 9 || name[2] != ':' || name[5] != '.' || name[7] != '.') return {};
  return {name.substr(0, 7), name.substr(8)};
}

uint64_t to_number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}
bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 20 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
         (text.size() == 1 || text[0] != '0');
}

kernel::BootKind parse_boot_kind(std::string_view name) {
  using kernel::BootKind;
  for (BootKind kind : {BootKind::kCold, BootKind::kKexec, BootKind::kTakeover, BootKind::kColdAfterDamage}) {
    if (name == kernel::name_of(kind)) return kind;
  }
  return BootKind::kCold;
}

template <typename Stats>
void parse_devices(const Lines& lines, std::string_view prefix, std::vector<std::pair<std::string, Stats>>& devices) {
  for (const auto& [name, value] : lines) {
    auto [bdf, field] = split_device_line(name, prefix);
    if (bdf.empty()) continue;
    auto device = std::find_if(devices.begin(), devices.end(),
                               [wanted = bdf](const auto& entry) { return entry.first == wanted; });
    if (device == devices.end()) device = devices.insert(device, {std::string(bdf), Stats{}});
    for_each_field(device->second, [&, wanted = field]<typename Field>(const char* known, Field& place) {
      if (wanted == known) place = static_cast<Field>(to_number(value));
    });
  }
}

// The line as a field of its device, which is an element of `devices`; false: another line.
bool add_device_line(std::string_view name, std::string_view prefix, nlohmann::json value, nlohmann::json& devices) {
  auto [bdf, field] = split_device_line(name, prefix);
  if (bdf.empty()) return false;
  auto device = std::find_if(devices.begin(), devices.end(),
                             [wanted = bdf](const auto& entry) { return entry["bdf"] == wanted; });
  if (device == devices.end()) {
    devices.push_back({{"bdf", bdf}});
    device = std::prev(devices.end());
  }
  (*device)[std::string(field)] = std::move(value);
  return true;
}

// "... no_handover=00:1e.0 ...": whether this engine is named.
bool is_ephemeral(std::string_view command_line, std::string_view bdf) {
  const size_t at = command_line.find(kEphemeralParameter);
  if (at == std::string_view::npos) return false;
  command_line.remove_prefix(at + kEphemeralParameter.size());
  return command_line.substr(0, command_line.find(' ')).find(bdf) != std::string_view::npos;
}

}  // namespace

Snapshot parse_snapshot(const server::Reply& reply) {
  Snapshot snapshot;
  kernel::KernelStatus& status = snapshot.status;
  snapshot.pid = static_cast<int>(reply.number("pid"));
  status.release = reply.text("release");
  status.generation = static_cast<uint32_t>(reply.number("generation"));
  status.boot = parse_boot_kind(reply.text("boot"));
  status.command_line = reply.text("command_line");
  status.boot_ns = reply.number("boot_ns");
  status.commit_ns = reply.number("commit_ns");

  status.kho.kho_boot = reply.number("kho.boot") != 0;
  status.kho.kexec_count = static_cast<uint32_t>(reply.number("kho.kexec_count"));
  status.kho.previous_release = reply.text("kho.previous_release");
  status.kho.incoming_blocks = reply.number("kho.incoming_blocks");
  status.kho.incoming_pages = reply.number("kho.incoming_pages");
  status.kho.restored_pages = reply.number("kho.restored_pages");
  status.kho.unrestored_pages = reply.number("kho.unrestored_pages");
  status.kho.unrestored_by_design = reply.number("kho.unrestored_by_design");
  status.kho.failed_restores = reply.number("kho.failed_restores");
  status.kho.preserved_blocks = reply.number("kho.preserved_blocks");
  status.kho.preserved_pages = reply.number("kho.preserved_pages");
  status.kho.tree_pages = reply.number("kho.tree_pages");

  constexpr std::string_view kZoneNames[mm::kZones] = {"dma32", "normal"};
  for (unsigned zone = 0; zone < mm::kZones; ++zone) {
    status.pages.zone[zone].managed_pages = reply.number(fmt::format("mm.{}.managed", kZoneNames[zone]));
    status.pages.zone[zone].free_pages = reply.number(fmt::format("mm.{}.free", kZoneNames[zone]));
  }
  status.pages.bad_pages = reply.number("mm.bad_pages");
  status.pages.leaked_pages = reply.number("mm.leaked_pages");
  status.pages.tainted = reply.number("mm.tainted") != 0;

  status.dma.allocations = reply.number("dma.allocations");
  status.dma.preserved = reply.number("dma.preserved");
  status.dma.restored = reply.number("dma.restored");
  status.dma.leaked = reply.number("dma.leaked");
  status.dma.leaked_pages = reply.number("dma.leaked_pages");
  status.dma.debug_errors = reply.number("dma.debug_errors");
  parse_devices(reply.lines, kEnginePrefix, status.engines);
  std::erase_if(status.engines, [&](auto& engine) {
    if (!is_ephemeral(status.command_line, engine.first)) return false;
    snapshot.ephemeral.push_back(engine);
    return true;
  });
  parse_devices(reply.lines, kNvmePrefix, status.nvmes);
  snapshot.iommu = parse_kernel_iommu(reply);

  status.luo.enabled = reply.number("luo.enabled") != 0;
  status.luo.liveupdate_num = reply.number("luo.liveupdate_num");
  status.luo.outgoing_sessions = reply.number("luo.outgoing_sessions");
  status.luo.outgoing_files = reply.number("luo.outgoing_files");
  status.luo.incoming_sessions = reply.number("luo.incoming_sessions");
  status.luo.incoming_files = reply.number("luo.incoming_files");
  status.luo.refusal = reply.text("luo.refusal");

  status.pressure_rounds = reply.number("pressure.rounds");
  status.pressure_damaged = reply.number("pressure.damaged");
  status.driver_errors = reply.all("driver_error");
  status.problems = reply.all("problem");
  return snapshot;
}

Result<Snapshot> take_snapshot(const std::string& kernel_socket, unsigned timeout_ms) {
  auto reply = CW_TRY(server::ask(kernel_socket, "status", timeout_ms));
  if (!reply.ok()) return fail(EPROTO, "the kernel does not tell its status");
  Snapshot snapshot = parse_snapshot(reply);
  snapshot.taken_ns = monotonic_ns();
  auto target = kernel::preflight(fmt::format("/proc/{}/exe", snapshot.pid), kho::abi::kCompatible);
  if (target) snapshot.build_id = target->build_id;
  return snapshot;
}

drivers::DmaEngineStats Snapshot::total() const {
  DmaEngineStats sum;
  sum.adopted = !status.engines.empty();
  for (const auto& [bdf, engine] : status.engines) {
    sum.adopted = sum.adopted && engine.adopted;
    sum.records += engine.records;
    sum.bytes += engine.bytes;
    sum.lost += engine.lost;
    sum.replayed += engine.replayed;
    sum.corrupted += engine.corrupted;
    sum.refused += engine.refused;
    sum.work_done += engine.work_done;
    sum.work_failed += engine.work_failed;
    sum.device_completed += engine.device_completed;
    sum.device_dropped += engine.device_dropped;
    sum.device_refused += engine.device_refused;
    sum.device_starved_ns += engine.device_starved_ns;
    if (engine.device_max_gap_ns > sum.device_max_gap_ns) {
      sum.device_max_gap_ns = engine.device_max_gap_ns;
      sum.device_max_late_ns = engine.device_max_late_ns;
    }
    sum.device_epoch += engine.device_epoch;
    sum.expected_epoch += engine.expected_epoch;
    sum.blackout_ns = std::max(sum.blackout_ns, engine.blackout_ns);
    sum.completed_before += engine.completed_before;
    sum.completed_during += engine.completed_during;
    sum.completed_after += engine.completed_after;
    sum.first_work_ns = std::max(sum.first_work_ns, engine.first_work_ns);
    sum.recycled += engine.recycled;
  }
  return sum;
}

bool Snapshot::working() const {
  auto has_worked = [](const auto& entry) { return entry.second.first_work_ns != 0; };
  return drives_devices() && std::all_of(status.engines.begin(), status.engines.end(), has_worked) &&
         std::all_of(status.nvmes.begin(), status.nvmes.end(), has_worked);
}

uint64_t Snapshot::unrestored_pages() const {
  const kho::KhoStats& kho = status.kho;
  return kho.unrestored_pages - std::min(kho.unrestored_pages, kho.unrestored_by_design);
}

nlohmann::json status_json(const server::Reply& reply) {
  nlohmann::json root = nlohmann::json::object();
  root["engines"] = nlohmann::json::array();
  root["nvmes"] = nlohmann::json::array();
  root["driver_errors"] = reply.all("driver_error");
  root["problems"] = reply.all("problem");
  auto to_json = [](const std::string& name, const std::string& value) {
    if (name.ends_with("release") || name == "command_line") return nlohmann::json(value);
    return is_number(value) ? nlohmann::json(to_number(value)) : nlohmann::json(value);
  };
  for (const auto& [name, value] : reply.lines) {
    if (name == "ok" || name == "driver_error" || name == "problem") continue;
    if (add_device_line(name, kEnginePrefix, to_json(name, value), root["engines"])) continue;
    if (add_device_line(name, kNvmePrefix, to_json(name, value), root["nvmes"])) continue;
    nlohmann::json* place = &root;
    size_t start = 0;
    for (size_t dot; (dot = name.find('.', start)) != std::string::npos; start = dot + 1)
      place = &(*place)[name.substr(start, dot - start)];
    (*place)[name.substr(start)] = to_json(name, value);
  }
  return root;
}

}  // namespace causeway::cli
