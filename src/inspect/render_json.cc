#include <nlohmann/json.hpp>

#include "inspect/render_iommu.h"

namespace causeway::inspect {
namespace {

using nlohmann::json;

json of(const Item& item) {
  json value;
  if (const auto* n = std::get_if<uint64_t>(&item.value)) value = *n;
  if (const auto* s = std::get_if<std::string>(&item.value)) value = *s;
  if (item.children.empty()) return value;
  json object = json::object();
  if (!value.is_null()) object["value"] = value;
  for (const Item& child : item.children) object[child.name] = of(child);
  return object;
}

json of(const Memfd& memfd) {
  json folios = json::array();
  for (const Folio& folio : memfd.folios) {
    json one{{"pfn", folio.pfn}, {"flags", folio.flags}, {"index", folio.index}};
    if (folio.head.has_value()) one["head"] = *folio.head;
    folios.push_back(std::move(one));
  }
  json runs = json::array();
  for (const FolioRun& run : memfd.runs) {
    runs.push_back({{"index", run.index},
                    {"pfn", run.pfn},
                    {"folios", run.folios},
                    {"order", run.order.has_value() ? json(*run.order) : json()},
                    {"flags", run.flags}});
  }
  return {{"phys", memfd.phys.value()},
          {"pos", memfd.pos},
          {"size", memfd.size},
          {"seals", memfd.seals},
          {"seal_names", seal_names(memfd.seals)},
          {"flags", memfd.flags},
          {"nr_folios", memfd.nr_folios},
          {"folios", std::move(folios)},
          {"folios_omitted", memfd.folios_omitted},
          {"runs", std::move(runs)},
          {"runs_omitted", memfd.runs_omitted}};
}

json of(const Luo& luo) {
  json sessions = json::array();
  for (const Session& session : luo.sessions) {
    json files = json::array();
    for (const File& file : session.files) {
      json one{{"compatible", file.compatible}, {"data", file.data}, {"token", file.token}};
      if (file.memfd.has_value()) one["memfd"] = of(*file.memfd);
      files.push_back(std::move(one));
    }
    json one{{"name", session.name}, {"count", session.count}, {"files", std::move(files)}};
    if (session.files_omitted > 0) one["files_omitted"] = session.files_omitted;
    sessions.push_back(std::move(one));
  }
  json flbs = json::array();
  for (const Flb& flb : luo.flbs) flbs.push_back({{"name", flb.name}, {"data", flb.data}, {"count", flb.count}});
  return {{"compatible", luo.compatible},
          {"liveupdate_num", luo.liveupdate_num},
          {"sessions", std::move(sessions)},
          {"flbs", std::move(flbs)}};
}

json of(const Finding& finding) {
  return {{"severity", name_of(finding.severity)},
          {"rule", finding.rule},
          {"address", finding.address.has_value() ? json(finding.address->value()) : json()},
          {"text", finding.text}};
}

json map_of(const Report& report) {
  json by_order = json::object();
  for (unsigned order = 0; order < kOrders; ++order)
    if (report.map.by_order[order] > 0) by_order[std::to_string(order)] = report.map.by_order[order];
  json map{{"root", report.map_root.value()}, {"nodes", report.map.nodes}, {"leaves", report.map.leaves},
           {"entries", report.map.blocks},    {"bytes", report.map.bytes}, {"by_order", std::move(by_order)}};
  if (report.format == kho::Format::kTyped) map["split"] = report.map.split;
  return map;
}

json subtrees_of(const Report& report) {
  json subtrees = json::object();
  for (const Subtree& subtree : report.subtrees) {
    // The first of a name is the one that can be found.
    if (subtrees.contains(subtree.name)) continue;
    json one{{"phys", subtree.phys.value()}, {"size", subtree.size}};
    if (!subtree.format.empty()) one["format"] = subtree.format;
    if (!subtree.fields.empty()) {
      json fields = json::object();
      for (const Item& item : subtree.fields) fields[item.name] = of(item);
      one["fields"] = std::move(fields);
    }
    subtrees[subtree.name] = std::move(one);
  }
  return subtrees;
}

}  // namespace

json to_json(const Report& report) {
  json scratch = json::array();
  for (const mm::MemRange& area : report.scratch)
    scratch.push_back({{"phys", area.base.value()}, {"size", area.size}});
  json candidates = json::array();
  for (const Candidate& candidate : report.candidates)
    candidates.push_back({{"fdt_phys", candidate.fdt.value()},
                          {"compatible", candidate.compatible},
                          {"entries", candidate.entries},
                          {"intact", candidate.intact}});
  json problems = json::array(), notes = json::array();
  for (const Finding& finding : report.findings.list())
    (finding.severity == Severity::kNote ? notes : problems).push_back(of(finding));
  json metadata;
  if (report.kexec_metadata.has_value())
    metadata = {{"version", report.kexec_metadata->version},
                {"previous_release", report.kexec_metadata->previous_release},
                {"kexec_count", report.kexec_metadata->kexec_count}};
  json whole{{"ok", report.findings.problems() == 0},
          {"file",
           {{"kind", report.kind},
            {"bytes", report.file_bytes},
            {"compressed", report.compressed},
            {"metadata_only", report.metadata_only}}},
          {"fdt_phys", report.fdt_phys.has_value() ? json(report.fdt_phys->value()) : json()},
          {"fdt_bytes", report.fdt_bytes},
          {"fdt_found_by", report.fdt_found_by},
          {"candidates", std::move(candidates)},
          {"compatible", report.compatible},
          {"memory_map", map_of(report)},
          {"scratch", std::move(scratch)},
          {"subtrees", subtrees_of(report)},
          {"kexec_metadata", std::move(metadata)},
          {"iommu", iommu_json(report)},
          {"luo", report.luo.has_value() ? of(*report.luo) : json()},
          {"image_pages", report.image_pages},
          {"problems", std::move(problems)},
          {"notes", std::move(notes)},
          {"problem_count", report.findings.problems()},
          {"findings_omitted", report.findings.dropped()}};
  if (report.translation.has_value()) whole["translation"] = translation_json(report);
  return whole;
}

}  // namespace causeway::inspect
